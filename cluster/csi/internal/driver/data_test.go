package driver_test

import (
	"context"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hearth.dev/cluster/csi/internal/mount"
	"hearth.dev/cluster/csi/internal/volumes"
)

func sizeAt(t *testing.T, path string) int64 {
	t.Helper()
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		t.Fatal(err)
	}
	return int64(stat.Blocks) * stat.Bsize
}

func TestAFilesystemGrowsWhileAPodWritesToIt(t *testing.T) {
	rig := newRig(t)
	volume := rig.create("claim", 400*mebibyte, filesystem(), nil)
	path := rig.use(volume.GetVolumeId(), filesystem())
	write(t, filepath.Join(path, "kept"), "before")
	before := sizeAt(t, path)

	request := &csi.ControllerExpandVolumeRequest{VolumeId: volume.GetVolumeId(), CapacityRange: &csi.CapacityRange{RequiredBytes: 900 * mebibyte}}
	if _, err := rig.ControllerExpandVolume(context.Background(), request); err != nil {
		t.Fatal(err)
	}
	expand := &csi.NodeExpandVolumeRequest{VolumeId: volume.GetVolumeId(), VolumePath: path, CapacityRange: request.GetCapacityRange()}
	for range 2 { // the second time nothing is left to do
		if _, err := rig.NodeExpandVolume(context.Background(), expand); err != nil {
			t.Fatal(err)
		}
	}
	if after := sizeAt(t, path); after < before+450*mebibyte {
		t.Errorf("the file system has %d bytes, it had %d", after, before)
	}
	if read(t, filepath.Join(path, "kept")) != "before" {
		t.Error("the file changed")
	}
}

func TestAStagingCutShortBeforeItGrewTheFilesystemIsCompletedByTheRetry(t *testing.T) {
	rig := newRig(t)
	id := rig.create("claim", 400*mebibyte, filesystem(), nil).GetVolumeId()
	if err := rig.stage(id, filesystem()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rig.release(id) })
	before := sizeAt(t, rig.staging(id))
	// As if it had been staged at this size: it is mounted, and neither device nor file system have grown.
	if _, err := rig.store.Expand(id, volumes.Range{Required: 900 * mebibyte}); err != nil {
		t.Fatal(err)
	}

	reader := filesystem()
	reader.AccessMode.Mode = csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY
	for _, test := range []struct {
		capability *csi.VolumeCapability
		least      int64
	}{{reader, before}, {filesystem(), before + 450*mebibyte}} {
		if err := rig.stage(id, test.capability); err != nil {
			t.Fatal(err)
		}
		size := sizeAt(t, rig.staging(id))
		if size < test.least || (test.least == before && size != before) {
			t.Errorf("%v: the file system has %d bytes, it had %d", test.capability.GetAccessMode(), size, before)
		}
	}
}

func TestDataOutlivesThePod(t *testing.T) {
	rig := newRig(t)
	id := rig.create("claim", 400*mebibyte, filesystem(), nil).GetVolumeId()
	write(t, filepath.Join(rig.use(id, filesystem()), "kept"), "data")
	rig.release(id)
	if read(t, filepath.Join(rig.use(id, filesystem()), "kept")) != "data" {
		t.Error("the file changed")
	}
}

func TestASnapshotOfAVolumeInUseIsOneMoment(t *testing.T) {
	rig := newRig(t)
	id := rig.create("claim", 400*mebibyte, filesystem(), nil).GetVolumeId()
	path := rig.use(id, filesystem())
	write(t, filepath.Join(path, "record"), "old") // still in the page cache

	snapshot := rig.snapshot("backup", id)
	write(t, filepath.Join(path, "record"), "new")

	// Mounted beside its origin, whose file system UUID it shares, and larger.
	restored := rig.create("restored", 700*mebibyte, filesystem(), fromSnapshot(snapshot.GetSnapshotId())).GetVolumeId()
	other := rig.use(restored, filesystem())
	if got := read(t, filepath.Join(other, "record")); got != "old" {
		t.Errorf("the restored volume says %q", got)
	}
	if got := read(t, filepath.Join(path, "record")); got != "new" {
		t.Errorf("the volume itself says %q", got)
	}
	if size := sizeAt(t, other); size < 600*mebibyte {
		t.Errorf("the restored file system has %d bytes", size)
	}
}

func TestASnapshotOutlivesItsVolume(t *testing.T) {
	rig := newRig(t)
	id := rig.create("claim", 400*mebibyte, filesystem(), nil).GetVolumeId()
	write(t, filepath.Join(rig.use(id, filesystem()), "record"), "kept")
	snapshot := rig.snapshot("backup", id)
	rig.release(id)
	if _, err := rig.DeleteVolume(context.Background(), &csi.DeleteVolumeRequest{VolumeId: id}); err != nil {
		t.Fatal(err)
	}
	restored := rig.create("restored", 0, filesystem(), fromSnapshot(snapshot.GetSnapshotId())).GetVolumeId()
	if read(t, filepath.Join(rig.use(restored, filesystem()), "record")) != "kept" {
		t.Error("the file changed")
	}
}

// What a pod put on a raw device, restored as a Filesystem volume.
func TestAForeignContentIsNeverFormattedAway(t *testing.T) {
	for name, test := range map[string]struct {
		fill   func(t *testing.T, device string)
		called string
	}{
		"another file system": {func(t *testing.T, device string) { command(t, "mkfs.ext4", "-q", device) }, "ext4"},
		"a partition table":   {func(t *testing.T, device string) { write(t, device, mbr()) }, "dos"},
		"unknown data":        {func(t *testing.T, device string) { write(t, device, "a database without a signature") }, "unknown data"},
	} {
		t.Run(name, func(t *testing.T) {
			rig := newRig(t)
			raw := rig.create("raw", 10*mebibyte, block(), nil).GetVolumeId()
			test.fill(t, rig.use(raw, block()))
			rig.release(raw)
			snapshot := rig.snapshot("backup", raw)
			id := rig.create("restored", 0, filesystem(), fromSnapshot(snapshot.GetSnapshotId())).GetVolumeId()
			before := digest(t, rig.store.Image(id))

			err := rig.stage(id, filesystem())

			if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "holds "+test.called) {
				t.Errorf("error: %v", err)
			}
			if digest(t, rig.store.Image(id)) != before {
				t.Error("the image was written to")
			}
		})
	}
}

func digest(t *testing.T, path string) [sha256.Size]byte {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		t.Fatal(err)
	}
	return [sha256.Size]byte(hash.Sum(nil))
}

// mbr is a master boot record with one Linux partition.
func mbr() string {
	sector := make([]byte, 512)
	copy(sector[446:], []byte{0, 0, 2, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 0, 8, 0, 0})
	sector[510], sector[511] = 0x55, 0xAA
	return string(sector)
}

func TestAnXFSMadeOnARawDeviceIsAdopted(t *testing.T) {
	rig := newRig(t)
	raw := rig.create("raw", 400*mebibyte, block(), nil).GetVolumeId()
	command(t, "mkfs.xfs", "-q", "-L", "mine", rig.use(raw, block()))
	rig.release(raw)
	id := rig.create("restored", 0, filesystem(), fromSnapshot(rig.snapshot("backup", raw).GetSnapshotId())).GetVolumeId()
	rig.use(id, filesystem())
	if label := command(t, "blkid", "--probe", "--output", "value", "--match-tag", "LABEL", rig.store.Image(id)); label != "mine" {
		t.Errorf("the label is %q: the volume was formatted again", label)
	}
}

func TestFormattingCutShortByACrashIsRepeated(t *testing.T) {
	rig := newRig(t)
	id := rig.create("claim", 400*mebibyte, filesystem(), nil).GetVolumeId()
	if err := rig.store.SetFormat(id, volumes.Formatting); err != nil {
		t.Fatal(err)
	}
	image, err := os.OpenFile(rig.store.Image(id), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := image.WriteAt([]byte("XFSB half a superblock"), 0); err != nil {
		t.Fatal(err)
	}
	if err := image.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(rig.use(id, filesystem()), "file"), "works")
}

func TestAVolumeThatLostItsFilesystemIsNotFormattedAgain(t *testing.T) {
	rig := newRig(t)
	id := rig.create("claim", 400*mebibyte, filesystem(), nil).GetVolumeId()
	rig.use(id, filesystem())
	rig.release(id)
	image, err := os.OpenFile(rig.store.Image(id), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	if _, err := image.WriteAt(make([]byte, 512), 0); err != nil { // the superblock is gone, the data is not
		t.Fatal(err)
	}
	if err := rig.stage(id, filesystem()); err == nil {
		t.Fatal("it was mounted")
	}
	first := make([]byte, 4)
	if _, err := image.ReadAt(first, 0); err != nil || string(first) == "XFSB" {
		t.Errorf("a new file system was made over it (%v)", err)
	}
}

func TestAFreezeInWhichTheDriverDiedEndsAtItsNextStart(t *testing.T) {
	rig := newRig(t)
	id := rig.create("claim", 400*mebibyte, filesystem(), nil).GetVolumeId()
	path := rig.use(id, filesystem())
	if _, err := mount.Freeze(path); err != nil {
		t.Fatal(err)
	}
	rig.store.Close() // the driver dies

	again := openRig(t, rig.dir, rig.state)

	written := make(chan error, 1)
	go func() { written <- os.WriteFile(filepath.Join(path, "file"), []byte("x"), 0o600) }()
	select {
	case err := <-written:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("writes still hang")
	}
	again.release(id)
}
