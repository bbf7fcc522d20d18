// Package volumes keeps volumes and snapshots as files: a folder each, holding
// a sparse image and a JSON record.
//
// Making and removing are single renames, so that after a crash at any moment a
// folder is there completely or not at all:
//
//	STATE/volumes/vol-…/{image,record.json}
//	STATE/volumes/.making-vol-…    being made: the retry starts it afresh
//	STATE/volumes/.removing-vol-…  being removed: finished at the next start
//	STATE/snapshots/snap-…/        the same two files, the image read-only
package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	imageFile  = "image"
	recordFile = "record.json"
	making     = ".making-"
	removing   = ".removing-"
)

// Store is the one owner of a state folder.
type Store struct {
	dir        string
	overcommit float64
	lock       *os.File
	reflinks   bool
}

// Open takes the state folder for this process and clears away what an earlier
// one left half made or half removed. overcommit is how many times the disk's
// space may be promised to volumes (1: never more than there is).
func Open(dir string, overcommit float64) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	store := &Store{dir: dir, overcommit: overcommit}
	for _, folder := range []string{store.volumesDir(), store.snapshotsDir()} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, fmt.Errorf("make the state folder: %w", err)
		}
	}
	if err := store.takeLock(); err != nil {
		return nil, err
	}
	for _, folder := range []string{store.volumesDir(), store.snapshotsDir()} {
		if err := sweep(folder); err != nil {
			store.Close()
			return nil, fmt.Errorf("clear the remains of an interrupted request: %w", err)
		}
	}
	store.reflinks, err = canReflink(dir)
	if err != nil {
		store.Close()
		return nil, err
	}
	return store, nil
}

// Close gives the state folder up. Volumes that are mounted stay mounted.
func (s *Store) Close() { s.lock.Close() }

// Reflinks says whether the state folder's file system copies a file by sharing
// its blocks (FICLONE): then a copy is instant and taken at one moment.
func (s *Store) Reflinks() bool { return s.reflinks }

func (s *Store) volumesDir() string   { return filepath.Join(s.dir, "volumes") }
func (s *Store) snapshotsDir() string { return filepath.Join(s.dir, "snapshots") }

// Image is the path of a volume's image.
func (s *Store) Image(id string) string { return filepath.Join(s.volumesDir(), id, imageFile) }

func (s *Store) snapshotImage(id string) string {
	return filepath.Join(s.snapshotsDir(), id, imageFile)
}

// Volume reads one volume's record.
func (s *Store) Volume(id string) (Volume, error) {
	var volume Volume
	if !volumeID.MatchString(id) {
		return volume, fmt.Errorf("volume %q: %w", id, ErrNotFound)
	}
	return volume, lookUp(filepath.Join(s.volumesDir(), id), "volume", &volume)
}

// Snapshot reads one snapshot's record.
func (s *Store) Snapshot(id string) (Snapshot, error) {
	var snapshot Snapshot
	if !snapshotID.MatchString(id) {
		return snapshot, fmt.Errorf("snapshot %q: %w", id, ErrNotFound)
	}
	return snapshot, lookUp(filepath.Join(s.snapshotsDir(), id), "snapshot", &snapshot)
}

// Volumes lists all volumes in the order of their IDs.
func (s *Store) Volumes() ([]Volume, error) {
	return list(s.volumesDir(), s.Volume)
}

// Snapshots lists all snapshots in the order of their IDs.
func (s *Store) Snapshots() ([]Snapshot, error) {
	return list(s.snapshotsDir(), s.Snapshot)
}

func lookUp(folder, kind string, record any) error {
	err := readRecord(filepath.Join(folder, recordFile), record)
	if errors.Is(err, fs.ErrNotExist) {
		if _, statErr := os.Stat(folder); statErr == nil {
			return fmt.Errorf("%s has lost its %s; its image is kept untouched: put the record back or remove the folder", folder, recordFile)
		}
		return fmt.Errorf("%s %q: %w", kind, filepath.Base(folder), ErrNotFound)
	}
	return err
}

func list[Record any](folder string, read func(id string) (Record, error)) ([]Record, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(entries))
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), ".") {
			ids = append(ids, entry.Name())
		}
	}
	sort.Strings(ids)
	records := make([]Record, 0, len(ids))
	for _, id := range ids {
		record, err := read(id)
		if errors.Is(err, ErrNotFound) {
			continue // removed since the folder was read, or not a folder of ours
		}
		if err != nil {
			return nil, err
		}
		records = append(records, record)
	}
	return records, nil
}

func (s *Store) takeLock() error {
	path := filepath.Join(s.dir, "lock")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return fmt.Errorf("another driver works on %s (%s is locked): stop it, or choose another --state-dir", s.dir, path)
	}
	s.lock = file
	return nil
}
