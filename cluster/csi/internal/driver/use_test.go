package driver_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"hearth.dev/cluster/csi/internal/driver"
	"hearth.dev/cluster/csi/internal/loop"
	"hearth.dev/cluster/csi/internal/volumes"
)

func TestABlockVolumeIsTheDeviceItself(t *testing.T) {
	rig := newRig(t)
	id := rig.create("raw", 10*mebibyte, block(), nil).GetVolumeId()
	path := rig.use(id, block())
	if size, err := loop.SizeOf(path); err != nil || size != 10*mebibyte {
		t.Fatalf("the device has %d bytes (%v)", size, err)
	}
	write(t, path, "raw data")

	request := &csi.ControllerExpandVolumeRequest{VolumeId: id, CapacityRange: &csi.CapacityRange{RequiredBytes: 20 * mebibyte}}
	if _, err := rig.ControllerExpandVolume(context.Background(), request); err != nil {
		t.Fatal(err)
	}
	if _, err := rig.NodeExpandVolume(context.Background(), &csi.NodeExpandVolumeRequest{VolumeId: id, VolumePath: path}); err != nil {
		t.Fatal(err)
	}
	stats, err := rig.NodeGetVolumeStats(context.Background(), &csi.NodeGetVolumeStatsRequest{VolumeId: id, VolumePath: path})
	if err != nil || stats.GetUsage()[0].GetTotal() != 20*mebibyte {
		t.Errorf("after growth: %v (%v)", stats, err)
	}
	rig.release(id)
	if image := read(t, rig.store.Image(id)); !strings.HasPrefix(image, "raw data") {
		t.Errorf("the image begins with %q", image[:8])
	}
}

func TestABlockVolumeInUseIsCopiedInOneMomentOrNotAtAll(t *testing.T) {
	for name, reflinks := range map[string]bool{"a disk without reflinks": false, "a disk with reflinks": true} {
		t.Run(name, func(t *testing.T) {
			dir := temporary(t)
			state := filepath.Join(dir, "disk")
			mountDisk(t, state, reflinks)
			rig := openRig(t, dir, state)
			t.Cleanup(rig.store.Close) // before the disk goes
			id := rig.create("raw", 10*mebibyte, block(), nil).GetVolumeId()
			device, err := os.OpenFile(rig.use(id, block()), os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer device.Close() // only now: until then the kernel may keep the data to itself
			if _, err := device.WriteString("raw data"); err != nil {
				t.Fatal(err)
			}

			request := &csi.CreateSnapshotRequest{Name: "backup", SourceVolumeId: id}
			_, err = rig.CreateSnapshot(context.Background(), request)

			if !reflinks {
				if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "stop the pod") {
					t.Errorf("error: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			copied := rig.create("copy", 0, block(), fromSnapshot(volumes.SnapshotID("backup"))).GetVolumeId()
			if !bytes.HasPrefix([]byte(read(t, rig.store.Image(copied))), []byte("raw data")) {
				t.Error("what the pod wrote is not in the copy")
			}
		})
	}
}

// mountDisk mounts a file system of its own at a folder.
func mountDisk(t *testing.T, folder string, reflinks bool) {
	t.Helper()
	image := filepath.Join(filepath.Dir(folder), "disk.img")
	write(t, image, "")
	if err := os.Truncate(image, 600*mebibyte); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	kind := "reflink=0"
	if reflinks {
		kind = "reflink=1"
	}
	command(t, "mkfs.xfs", "-q", "-m", kind, image)
	command(t, "mount", "-o", "loop", image, folder)
	t.Cleanup(func() { command(t, "umount", folder) })
}

// A pod that fills the disk must not take down what could delete its volume.
func TestAFullDiskDoesNotKeepTheDriverFromItsNextStart(t *testing.T) {
	dir := temporary(t)
	state := filepath.Join(dir, "disk")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	command(t, "mount", "-t", "tmpfs", "-o", "size=64k", "none", state)
	t.Cleanup(func() { command(t, "umount", state) })
	openRig(t, dir, state).store.Close()
	full, err := os.Create(filepath.Join(state, "full"))
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	if _, err := full.Write(make([]byte, 128<<10)); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}

	rig := openRig(t, dir, state)

	rig.store.Close() // before the disk goes
	if rig.store.Reflinks() {
		t.Error("the driver expects reflinks of a disk that it couldn't try")
	}
}

func TestAVolumeInUseIsNotDeleted(t *testing.T) {
	rig := newRig(t)
	for name, capability := range map[string]*csi.VolumeCapability{"files": filesystem(), "raw": block()} {
		id := rig.create(name, 400*mebibyte, capability, nil).GetVolumeId()
		rig.use(id, capability)
		_, err := rig.DeleteVolume(context.Background(), &csi.DeleteVolumeRequest{VolumeId: id})
		if status.Code(err) != codes.FailedPrecondition {
			t.Errorf("%s: %v", name, err)
		}
		rig.release(id)
		if _, err := rig.DeleteVolume(context.Background(), &csi.DeleteVolumeRequest{VolumeId: id}); err != nil {
			t.Errorf("%s, no longer in use: %v", name, err)
		}
		if _, err := os.Stat(rig.store.Image(id)); !os.IsNotExist(err) {
			t.Errorf("%s: the image is still there (%v)", name, err)
		}
	}
}

// Such as by a mount that lives on in another mount namespace.
func TestAnImageThatIsAttachedAlreadyGetsNoSecondDevice(t *testing.T) {
	rig := newRig(t)
	id := rig.create("claim", 400*mebibyte, filesystem(), nil).GetVolumeId()
	device, file, err := loop.Attach(rig.store.Image(id), loop.Options{})
	if err != nil {
		t.Fatal(err)
	}
	path := rig.use(id, filesystem())
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(path, "file"), "works")
	if devices := loopsBelow(t, rig.dir); len(devices) != 1 || devices[0] != device.Path {
		t.Errorf("the image is attached as %v, it was as %s", devices, device.Path)
	}
}

func TestAStagingPathThatShowsSomethingElseIsRefused(t *testing.T) {
	rig := newRig(t)
	id := rig.create("claim", 400*mebibyte, filesystem(), nil).GetVolumeId()
	if err := os.MkdirAll(rig.staging(id), 0o700); err != nil {
		t.Fatal(err)
	}
	command(t, "mount", "-t", "tmpfs", "none", rig.staging(id))
	t.Cleanup(func() { command(t, "umount", rig.staging(id)) })
	err := rig.stage(id, filesystem())
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "tmpfs") {
		t.Errorf("error: %v", err)
	}
}

func TestAReadOnlyVolumeCannotBeWritten(t *testing.T) {
	rig := newRig(t)
	id := rig.create("claim", 400*mebibyte, filesystem(), nil).GetVolumeId()
	rig.use(id, filesystem())
	second := filepath.Join(rig.dir, "pods", "reader")
	publish := &csi.NodePublishVolumeRequest{
		VolumeId: id, StagingTargetPath: rig.staging(id), TargetPath: second, VolumeCapability: filesystem(), Readonly: true,
	}
	for range 2 {
		if _, err := rig.NodePublishVolume(context.Background(), publish); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(second, "file"), nil, 0o600); err == nil {
		t.Error("a file could be written")
	}
	write(t, filepath.Join(rig.target(id), "file"), "the writer still can")
	if _, err := rig.NodeUnpublishVolume(context.Background(), &csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: second}); err != nil {
		t.Error(err)
	}
}

func TestAShrinkIsRefused(t *testing.T) {
	rig := newRig(t)
	id := rig.create("claim", 400*mebibyte, filesystem(), nil).GetVolumeId()
	_, err := rig.ControllerExpandVolume(context.Background(), &csi.ControllerExpandVolumeRequest{
		VolumeId: id, CapacityRange: &csi.CapacityRange{RequiredBytes: 300 * mebibyte, LimitBytes: 350 * mebibyte},
	})
	if status.Code(err) != codes.OutOfRange || !strings.Contains(err.Error(), "never shrink") {
		t.Errorf("error: %v", err)
	}
}

func TestRequestsThatCannotBeMetSayWhy(t *testing.T) {
	rig := newRig(t)
	of := func(change func(*csi.CreateVolumeRequest)) *csi.CreateVolumeRequest {
		request := &csi.CreateVolumeRequest{Name: "claim", VolumeCapabilities: []*csi.VolumeCapability{filesystem()}}
		change(request)
		return request
	}
	for name, test := range map[string]struct {
		request *csi.CreateVolumeRequest
		code    codes.Code
		says    string
	}{
		"another file system": {of(func(r *csi.CreateVolumeRequest) { r.VolumeCapabilities[0].GetMount().FsType = "ext4" }), codes.InvalidArgument, "fstype: xfs"},
		"many nodes": {of(func(r *csi.CreateVolumeRequest) {
			r.VolumeCapabilities[0].AccessMode.Mode = csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
		}), codes.InvalidArgument, "ReadWriteOnce"},
		"a misspelt parameter": {of(func(r *csi.CreateVolumeRequest) { r.Parameters = map[string]string{"fsTyp": "xfs"} }), codes.InvalidArgument, `"fsTyp" is unknown`},
		"another node": {of(func(r *csi.CreateVolumeRequest) {
			r.AccessibilityRequirements = &csi.TopologyRequirement{Requisite: []*csi.Topology{{Segments: map[string]string{driver.TopologyKey: "node-b"}}}}
		}), codes.ResourceExhausted, "node-a only"},
		"a missing snapshot": {of(func(r *csi.CreateVolumeRequest) {
			r.VolumeContentSource = fromSnapshot(volumes.SnapshotID("nothing"))
		}), codes.NotFound, "not found"},
		"both modes": {of(func(r *csi.CreateVolumeRequest) { r.VolumeCapabilities = append(r.VolumeCapabilities, block()) }), codes.InvalidArgument, "either"},
	} {
		_, err := rig.CreateVolume(context.Background(), test.request)
		if status.Code(err) != test.code || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestManyRequestsForOneNameAtATimeMakeOneVolume(t *testing.T) {
	rig := newRig(t)
	request := &csi.CreateVolumeRequest{Name: "claim", VolumeCapabilities: []*csi.VolumeCapability{filesystem()}}
	var made, told atomic.Int32
	var group sync.WaitGroup
	for range 32 {
		group.Go(func() {
			switch _, err := rig.CreateVolume(context.Background(), request); status.Code(err) {
			case codes.OK:
				made.Add(1)
			case codes.Aborted:
				told.Add(1) // to try again
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	if made.Load() < 1 || made.Load()+told.Load() != 32 {
		t.Errorf("%d requests were granted, %d told to try again", made.Load(), told.Load())
	}
	if all, err := rig.store.Volumes(); err != nil || len(all) != 1 {
		t.Errorf("volumes: %v, %v", all, err)
	}
}

func TestTheKubeletLearnsOfTheDriver(t *testing.T) {
	rig := newRig(t)
	socket, registry := filepath.Join(rig.dir, "csi.sock"), filepath.Join(rig.dir, "registry")
	if err := os.MkdirAll(registry, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, socket, "left by a killed driver")
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- driver.Serve(ctx, rig.Driver, socket, registry) }()
	connection, err := grpc.NewClient("unix://"+filepath.Join(registry, "csi.sock"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	client := registration.NewRegistrationClient(connection)
	info, err := client.GetInfo(ctx, &registration.InfoRequest{}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	if info.GetType() != "CSIPlugin" || info.GetName() != "csi.hearth.dev" || info.GetEndpoint() != socket {
		t.Errorf("registration: %v", info)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
