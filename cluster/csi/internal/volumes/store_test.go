package volumes

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	store, err := Open(dir, 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}

func create(t *testing.T, store *Store, name string, mode Mode) Volume {
	t.Helper()
	volume, err := store.CreateVolume(Wanted{Name: name, Mode: mode, Size: Range{Required: 400 * mebibyte}})
	if err != nil {
		t.Fatal(err)
	}
	return volume
}

func put(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestARetryRepairsACreationThatACrashCutShort(t *testing.T) {
	store := open(t, t.TempDir())
	half := filepath.Join(store.volumesDir(), making+VolumeID("claim"))
	put(t, filepath.Join(half, imageFile), []byte("half a copy"))
	put(t, filepath.Join(half, recordFile+".next"), []byte(`{"id": "vol-`))

	volume := create(t, store, "claim", Filesystem)

	if blank, err := Blank(store.Image(volume.ID)); err != nil || !blank {
		t.Errorf("the repaired volume is not blank (%v)", err)
	}
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Error("the remains of the first attempt are still there")
	}
}

func TestWhatACrashCutShortIsNoVolumeAndIsClearedAtTheNextStart(t *testing.T) {
	dir := t.TempDir()
	for _, prefix := range []string{making, removing} {
		put(t, filepath.Join(dir, "volumes", prefix+VolumeID("claim"), imageFile), []byte("x"))
	}
	store := open(t, dir)

	if all, err := store.Volumes(); err != nil || len(all) != 0 {
		t.Errorf("volumes: %v, %v", all, err)
	}
	if left, err := os.ReadDir(store.volumesDir()); err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestFilesTheDriverDidNotMakeAreNeverRemoved(t *testing.T) {
	store := open(t, t.TempDir())
	volume := create(t, store, "claim", Filesystem)
	put(t, filepath.Join(store.volumesDir(), volume.ID, "notes.txt"), []byte("mine"))

	err := store.DeleteVolume(volume.ID)

	if err == nil || !strings.Contains(err.Error(), "not the driver's") {
		t.Errorf("error: %v", err)
	}
	kept := filepath.Join(store.volumesDir(), removing+volume.ID, "notes.txt")
	store.Close()
	open(t, store.dir) // nor do they keep the driver from its next start
	if text, err := os.ReadFile(kept); err != nil || string(text) != "mine" {
		t.Errorf("%s: %q, %v", kept, text, err)
	}
}

func TestALostRecordIsNotTakenForAMissingVolume(t *testing.T) {
	store := open(t, t.TempDir())
	volume := create(t, store, "claim", Filesystem)
	if err := os.Remove(filepath.Join(store.volumesDir(), volume.ID, recordFile)); err != nil {
		t.Fatal(err)
	}

	_, err := store.Existing(Wanted{Name: "claim", Mode: Filesystem})

	if err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "image is kept") {
		t.Errorf("error: %v", err)
	}
}

func TestOneStateFolderHasOneDriver(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := Open(dir, 1); err == nil || !strings.Contains(err.Error(), "another driver") {
		t.Errorf("error: %v", err)
	}
}

func TestIDsFromOutsideNeverLeaveTheStateFolder(t *testing.T) {
	store := open(t, t.TempDir())
	for _, id := range []string{"", ".", "..", "../lock", "vol-../../etc", "/etc/passwd", making + VolumeID("claim")} {
		if _, err := store.Volume(id); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
		if _, err := store.Snapshot(id); !errors.Is(err, ErrNotFound) {
			t.Errorf("snapshot %q: %v", id, err)
		}
	}
}

func TestSizes(t *testing.T) {
	for _, test := range []struct {
		name string
		asks Range
		mode Mode
		size int64 // 0: refused
	}{
		{"nothing asked", Range{}, Filesystem, DefaultBytes},
		{"nothing asked, small limit", Range{Limit: 500*mebibyte + 7}, Filesystem, 500 * mebibyte},
		{"rounded up to whole MiB", Range{Required: 400*mebibyte + 1}, Filesystem, 401 * mebibyte},
		{"below what xfs needs", Range{Required: 10 * mebibyte}, Filesystem, MinimumFilesystemBytes},
		{"a small raw device", Range{Required: 10 * mebibyte}, Block, 10 * mebibyte},
		{"limit below what xfs needs", Range{Required: 10 * mebibyte, Limit: 20 * mebibyte}, Filesystem, 0},
		{"limit between two MiB", Range{Required: mebibyte + 1, Limit: mebibyte + 2}, Block, 0},
		{"limit below the requirement", Range{Required: 2 * mebibyte, Limit: mebibyte}, Block, 0},
		{"negative", Range{Required: -1}, Block, 0},
		{"beyond any file", Range{Required: 1<<63 - 1}, Block, 0},
	} {
		size, err := test.asks.Choose(test.mode)
		if size != test.size || (err != nil) != (test.size == 0) || (err != nil && !errors.Is(err, ErrOutOfRange)) {
			t.Errorf("%s: %d bytes, %v; want %d", test.name, size, err, test.size)
		}
	}
}

func TestAVolumeGrowsAndNeverShrinks(t *testing.T) {
	store := open(t, t.TempDir())
	volume := create(t, store, "claim", Filesystem) // 400 MiB
	for _, test := range []struct {
		asks Range
		size int64 // MiB; 0: refused
	}{
		{Range{Required: 100 * mebibyte}, 400},
		{Range{Required: 100 * mebibyte, Limit: 399 * mebibyte}, 0},
		{Range{Required: 500 * mebibyte}, 500},
		{Range{Required: 500 * mebibyte}, 500},
		{Range{Required: 400 * mebibyte}, 500},
		{Range{Required: 1 << 60}, 0},
	} {
		before, _ := os.Stat(store.Image(volume.ID))
		grown, err := store.Expand(volume.ID, test.asks)
		after, _ := os.Stat(store.Image(volume.ID))
		if after.Size() < before.Size() {
			t.Fatalf("%+v cut the image from %d to %d bytes", test.asks, before.Size(), after.Size())
		}
		if test.size == 0 {
			if err == nil {
				t.Errorf("%+v was granted", test.asks)
			}
		} else if err != nil || grown.CapacityBytes != test.size*mebibyte || after.Size() != grown.CapacityBytes {
			t.Errorf("%+v: %d bytes, image %d, %v", test.asks, grown.CapacityBytes, after.Size(), err)
		}
	}
}

func TestGrowthCutShortByACrashIsCompletedByTheRetry(t *testing.T) {
	store := open(t, t.TempDir())
	volume := create(t, store, "claim", Filesystem)
	// The image grew, then the power went: the record says 400 MiB.
	if err := resize(store.Image(volume.ID), 600*mebibyte); err != nil {
		t.Fatal(err)
	}
	grown, err := store.Expand(volume.ID, Range{Required: 600 * mebibyte})
	if err != nil || grown.CapacityBytes != 600*mebibyte {
		t.Errorf("%+v, %v", grown, err)
	}
}

func TestMoreThanTheDiskIsNotPromised(t *testing.T) {
	store := open(t, t.TempDir())
	before, err := store.Available()
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.CreateVolume(Wanted{Name: "huge", Mode: Block, Size: Range{Required: before + 1<<30}})
	if !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "--overcommit") {
		t.Errorf("error: %v", err)
	}
	create(t, store, "claim", Filesystem)
	after, err := store.Available()
	// Other programs use the same disk meanwhile: the bound is loose.
	if err != nil || after > before-100*mebibyte {
		t.Errorf("a volume of 400 MiB left %d of %d promisable bytes (%v)", after, before, err)
	}
}

func TestACopyHasTheSameContentAndKeepsItsHoles(t *testing.T) {
	store := open(t, t.TempDir())
	volume, err := store.CreateVolume(Wanted{Name: "claim", Mode: Block, Size: Range{Required: 40 * mebibyte}})
	if err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("court record "), 10_000)
	image, err := os.OpenFile(store.Image(volume.ID), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	for _, at := range []int64{0, 12 * mebibyte, 40*mebibyte - int64(len(content))} {
		if _, err := image.WriteAt(content, at); err != nil {
			t.Fatal(err)
		}
	}
	snapshot, err := store.CreateSnapshot("backup", volume.ID)
	if err != nil {
		t.Fatal(err)
	}
	clone, err := store.CreateVolume(Wanted{Name: "clone", Mode: Block, Source: &Source{FromSnapshot, snapshot.ID}})
	if err != nil {
		t.Fatal(err)
	}
	original, _ := os.ReadFile(store.Image(volume.ID))
	copied, _ := os.ReadFile(store.Image(clone.ID))
	if !bytes.Equal(original, copied) {
		t.Error("the restored volume differs from the original")
	}
	if used, err := allocated(store.Image(clone.ID)); err != nil || used > 2*mebibyte {
		t.Errorf("the copy of %d bytes of data occupies %d bytes (%v)", 3*len(content), used, err)
	}
}

func TestBlankLooksAtEveryByte(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	if err := newImage(path, 64*mebibyte); err != nil {
		t.Fatal(err)
	}
	image, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	check := func(what string, wanted bool) {
		t.Helper()
		if blank, err := Blank(path); err != nil || blank != wanted {
			t.Errorf("%s: blank is %v (%v)", what, blank, err)
		}
	}
	check("a hole", true)
	if _, err := image.WriteAt(make([]byte, 3*mebibyte), 5*mebibyte); err != nil {
		t.Fatal(err)
	}
	check("written zeros", true)
	if _, err := image.WriteAt([]byte{1}, 64*mebibyte-1); err != nil {
		t.Fatal(err)
	}
	check("one byte at the very end", false)
}

func TestARequestThatDiffersFromTheVolumeOfItsNameIsRefused(t *testing.T) {
	store := open(t, t.TempDir())
	create(t, store, "claim", Filesystem)
	for name, wanted := range map[string]Wanted{
		"another mode":   {Mode: Block},
		"a larger one":   {Mode: Filesystem, Size: Range{Required: 401 * mebibyte}},
		"a smaller one":  {Mode: Filesystem, Size: Range{Limit: 399 * mebibyte}},
		"with a content": {Mode: Filesystem, Source: &Source{FromSnapshot, SnapshotID("backup")}},
	} {
		wanted.Name = "claim"
		if _, err := store.Existing(wanted); !errors.Is(err, ErrIncompatible) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := store.Existing(Wanted{Name: "claim", Mode: Filesystem, Size: Range{Required: 400 * mebibyte}}); err != nil {
		t.Errorf("the same request again: %v", err)
	}
}
