// hearth-csi is a CSI driver for loop-backed xfs and raw volumes on one node:
// storage with online growth and snapshots for clusters on a single machine.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"hearth.dev/cluster/csi/internal/driver"
	"hearth.dev/cluster/csi/internal/volumes"
)

func main() {
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, nil)))
	if err := run(os.Args[1:]); err != nil {
		slog.Error("the driver stops", "error", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	flags := flag.NewFlagSet("hearth-csi", flag.ContinueOnError)
	endpoint := flags.String("endpoint", "", "path of the socket to serve the CSI on")
	registrationDir := flags.String("registration-dir", "", "the kubelet's plugins_registry folder; empty: don't register")
	stateDir := flags.String("state-dir", "", "folder of the volumes' images and records")
	node := flags.String("node", "", "name of this node")
	overcommit := flags.Float64("overcommit", 1, "how many times the disk's space may be promised to volumes")
	version := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if *version {
		fmt.Println(driver.Version)
		return nil
	}
	for name, value := range map[string]string{"endpoint": *endpoint, "state-dir": *stateDir, "node": *node} {
		if value == "" {
			return fmt.Errorf("--%s is missing", name)
		}
	}
	if *overcommit < 1 {
		return fmt.Errorf("--overcommit %g is below 1: 1 promises the disk once", *overcommit)
	}
	store, err := volumes.Open(*stateDir, *overcommit)
	if err != nil {
		return err
	}
	defer store.Close()
	service, err := driver.New(store, *node)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	slog.Info("serving", "endpoint", *endpoint, "state", *stateDir, "node", *node, "reflinks", store.Reflinks(), "version", driver.Version)
	return driver.Serve(ctx, service, *endpoint, *registrationDir)
}
