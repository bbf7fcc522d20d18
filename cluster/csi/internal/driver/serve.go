package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// Serve answers on the driver's socket, and on a registration socket in
// registrationDir unless that is empty, until the context ends. Requests under
// way are finished.
func Serve(ctx context.Context, driver *Driver, endpoint, registrationDir string) error {
	listener, err := listen(endpoint)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(logged))
	csi.RegisterIdentityServer(server, driver)
	csi.RegisterControllerServer(server, driver)
	csi.RegisterNodeServer(server, driver)
	servers := map[*grpc.Server]net.Listener{server: listener}
	if registrationDir != "" {
		path := filepath.Join(registrationDir, registrationSocket)
		listener, err := listen(path)
		if err != nil {
			return err
		}
		registrar := grpc.NewServer()
		registration.RegisterRegistrationServer(registrar, &Registration{Endpoint: endpoint})
		servers[registrar] = listener
	}
	failures := make(chan error, len(servers))
	for server, listener := range servers {
		go func() { failures <- server.Serve(listener) }()
	}
	select {
	case <-ctx.Done():
		for server := range servers {
			server.GracefulStop()
		}
		return nil
	case err := <-failures:
		return fmt.Errorf("serve: %w", err)
	}
}

// registrationSocket is short, because the kubelet's folder may lie deep; the
// kubelet takes a driver's name from its answer.
const registrationSocket = "csi.sock"

// longestSocketPath is the size of sockaddr_un's sun_path less its final zero (unix(7)).
const longestSocketPath = 107

func listen(path string) (net.Listener, error) {
	if len(path) > longestSocketPath {
		return nil, fmt.Errorf("socket path %s has %d bytes, Linux allows %d: choose a shorter folder", path, len(path), longestSocketPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	// A killed process leaves its socket file behind; the state folder's lock has
	// made sure by now that no other driver is alive.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return net.Listen("unix", path)
}

// logged writes one line per request. Requests carry no secrets here, but only
// names of methods and the outcome are written anyway.
func logged(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	start := time.Now()
	response, err := handle(ctx, request)
	level := slog.LevelInfo
	if err != nil {
		level = slog.LevelError
	} else if strings.HasSuffix(info.FullMethod, "/Probe") || strings.HasSuffix(info.FullMethod, "Capabilities") ||
		strings.HasSuffix(info.FullMethod, "/NodeGetVolumeStats") {
		level = slog.LevelDebug // asked all the time
	}
	attributes := []any{"method", info.FullMethod, "code", status.Code(err).String(), "ms", time.Since(start).Milliseconds()}
	if named, ok := request.(interface{ GetVolumeId() string }); ok {
		attributes = append(attributes, "volume", named.GetVolumeId())
	}
	if err != nil {
		attributes = append(attributes, "error", status.Convert(err).Message())
	}
	slog.Log(ctx, level, "request", attributes...)
	return response, err
}
