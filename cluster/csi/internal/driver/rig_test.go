package driver_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"hearth.dev/cluster/csi/internal/driver"
	"hearth.dev/cluster/csi/internal/loop"
	"hearth.dev/cluster/csi/internal/mount"
	"hearth.dev/cluster/csi/internal/volumes"
)

const (
	nodeName = "node-a"
	mebibyte = int64(1 << 20)
)

// rig is a driver on a temporary folder. It fails the test that leaves a mount
// or a loop device behind.
type rig struct {
	*driver.Driver
	t     *testing.T
	store *volumes.Store
	state string
	dir   string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := temporary(t)
	return openRig(t, dir, filepath.Join(dir, "state"))
}

// openRig starts a driver on a state folder that may have a past.
func openRig(t *testing.T, dir, state string) *rig {
	t.Helper()
	store, err := volumes.Open(state, 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	service, err := driver.New(store, nodeName)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{Driver: service, t: t, store: store, state: state, dir: dir}
}

// temporary is a folder of whose mounts and loop devices nothing outlives the test.
func temporary(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting and loop devices need root: run `make test-storage`, as root")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, left := range append(mountsBelow(t, dir), loopsBelow(t, dir)...) {
			t.Errorf("left behind: %s", left)
		}
		clear(t, dir)
	})
	return dir
}

func mountsBelow(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := mount.Table()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, entry := range entries {
		if strings.HasPrefix(entry.Target, dir+"/") {
			found = append(found, entry.Target)
		}
	}
	return found
}

func loopsBelow(t *testing.T, dir string) []string {
	t.Helper()
	attributes, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, attribute := range attributes {
		backing, err := os.ReadFile(attribute)
		if err == nil && strings.HasPrefix(string(backing), dir+"/") {
			found = append(found, "/dev/"+filepath.Base(filepath.Dir(filepath.Dir(attribute))))
		}
	}
	return found
}

// clear ends what a failed test left, newest mount first, so that the next test
// starts clean and the temporary folder can be removed.
func clear(t *testing.T, dir string) {
	t.Helper()
	targets := mountsBelow(t, dir)
	for _, target := range targets {
		_ = mount.Thaw(target) // most can't be frozen
	}
	for _, target := range slices.Backward(targets) {
		// A write that hung in a freeze needs a moment to end.
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			err := mount.Unmount(target)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Error(err)
				break
			}
		}
	}
	for _, path := range loopsBelow(t, dir) {
		if err := (loop.Device{Path: path}).Detach(); err != nil {
			t.Error(err)
		}
	}
}

func filesystem() *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: "xfs"}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
	}
}

func block() *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
	}
}

func (r *rig) create(name string, size int64, capability *csi.VolumeCapability, source *csi.VolumeContentSource) *csi.Volume {
	r.t.Helper()
	response, err := r.CreateVolume(context.Background(), &csi.CreateVolumeRequest{
		Name: name, CapacityRange: &csi.CapacityRange{RequiredBytes: size},
		VolumeCapabilities: []*csi.VolumeCapability{capability}, VolumeContentSource: source,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return response.GetVolume()
}

func (r *rig) staging(id string) string { return filepath.Join(r.dir, "staging", id) }
func (r *rig) target(id string) string  { return filepath.Join(r.dir, "pods", id) }

func (r *rig) stage(id string, capability *csi.VolumeCapability) error {
	r.t.Helper()
	_, err := r.NodeStageVolume(context.Background(), &csi.NodeStageVolumeRequest{
		VolumeId: id, StagingTargetPath: r.staging(id), VolumeCapability: capability,
	})
	return err
}

// use stages and publishes a volume and gives the path a pod would see.
func (r *rig) use(id string, capability *csi.VolumeCapability) string {
	r.t.Helper()
	if err := r.stage(id, capability); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.NodePublishVolume(context.Background(), &csi.NodePublishVolumeRequest{
		VolumeId: id, StagingTargetPath: r.staging(id), TargetPath: r.target(id), VolumeCapability: capability,
	}); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { r.release(id) })
	return r.target(id)
}

func (r *rig) release(id string) {
	r.t.Helper()
	if _, err := r.NodeUnpublishVolume(context.Background(), &csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: r.target(id)}); err != nil {
		r.t.Error(err)
	}
	if _, err := r.NodeUnstageVolume(context.Background(), &csi.NodeUnstageVolumeRequest{VolumeId: id, StagingTargetPath: r.staging(id)}); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) snapshot(name, source string) *csi.Snapshot {
	r.t.Helper()
	response, err := r.CreateSnapshot(context.Background(), &csi.CreateSnapshotRequest{Name: name, SourceVolumeId: source})
	if err != nil {
		r.t.Fatal(err)
	}
	return response.GetSnapshot()
}

func fromSnapshot(id string) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: id}}}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func command(t *testing.T, name string, arguments ...string) string {
	t.Helper()
	output, err := exec.Command(name, arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, arguments, err, output)
	}
	return strings.TrimSpace(string(output))
}
