// Package driver answers the Container Storage Interface for loop-backed
// volumes on one node. Controller and node service are one process: the node
// that makes a volume is the node that mounts it.
package driver

import (
	"fmt"
	"log/slog"
	"os/exec"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"hearth.dev/cluster/csi/internal/loop"
	"hearth.dev/cluster/csi/internal/mount"
	"hearth.dev/cluster/csi/internal/volumes"
	"hearth.dev/cluster/csi/internal/xfs"
)

const (
	// Name is how StorageClasses, the CSIDriver object and the kubelet call the driver.
	Name = "csi.hearth.dev"
	// TopologyKey is the node label that says where a volume's image lies.
	TopologyKey = "topology.csi.hearth.dev/node"
)

// Version is stamped at build time (-ldflags -X).
var Version = "0.1.0"

// Driver serves the identity, controller and node services.
type Driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedControllerServer
	csi.UnimplementedNodeServer

	store *volumes.Store
	node  string
	busy  busy
}

// New makes a driver for the volumes in store, living on the named node.
func New(store *volumes.Store, node string) (*Driver, error) {
	for _, tool := range append([]string{"mount"}, xfs.Tools...) {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%s is not installed: install the packages xfsprogs, mount and util-linux: %w", tool, err)
		}
	}
	driver := &Driver{store: store, node: node, busy: busy{keys: map[string]struct{}{}}}
	return driver, driver.thawAll()
}

// thawAll ends freezes in which an earlier process died: its snapshot is made
// afresh by the retry, and until then pods shall be able to write.
func (d *Driver) thawAll() error {
	all, err := d.store.Volumes()
	if err != nil {
		return err
	}
	for _, volume := range all {
		_, entries, err := d.mounts(volume.ID)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if err := mount.Thaw(entry.Target); err != nil {
				slog.Warn("volume can't be thawed", "volume", volume.ID, "error", err)
			}
		}
	}
	return nil
}

// mounts finds a volume's loop device (nil: not attached) and where the file
// system on it is mounted.
func (d *Driver) mounts(volumeID string) (*loop.Device, []mount.Entry, error) {
	device, attached, err := loop.Find(d.store.Image(volumeID))
	if err != nil || !attached {
		return nil, nil, err
	}
	number, err := device.Number()
	if err != nil {
		return nil, nil, err
	}
	entries, err := mount.Of(number)
	return &device, entries, err
}

func (d *Driver) topology() []*csi.Topology {
	return []*csi.Topology{{Segments: map[string]string{TopologyKey: d.node}}}
}
