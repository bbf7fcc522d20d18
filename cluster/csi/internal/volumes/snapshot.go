package volumes

import (
	"fmt"
	"os"
	"time"
)

// ExistingSnapshot finds the snapshot that an earlier, equal request took.
func (s *Store) ExistingSnapshot(name, sourceVolume string) (Snapshot, error) {
	snapshot, err := s.Snapshot(SnapshotID(name))
	if err == nil && snapshot.SourceVolumeID != sourceVolume {
		return snapshot, fmt.Errorf("snapshot %q %w: it was taken from volume %s, asked is %s", name, ErrIncompatible, snapshot.SourceVolumeID, sourceVolume)
	}
	return snapshot, err
}

// CreateSnapshot copies a volume. The caller keeps a volume that is in use still
// while this runs.
func (s *Store) CreateSnapshot(name, sourceVolume string) (Snapshot, error) {
	volume, err := s.Volume(sourceVolume)
	if err != nil {
		return Snapshot{}, err
	}
	snapshot := Snapshot{
		ID: SnapshotID(name), Name: name, SourceVolumeID: volume.ID, SizeBytes: volume.CapacityBytes,
		Mode: volume.Mode, Format: volume.Format, CreatedAt: time.Now().UTC(),
	}
	used, err := allocated(s.Image(volume.ID))
	if err != nil {
		return snapshot, err
	}
	if err := s.requireFree(used); err != nil {
		return snapshot, err
	}
	return snapshot, makeFolder(s.snapshotsDir(), snapshot.ID, snapshot, func(image string) error {
		if err := copyImage(s.Image(volume.ID), image); err != nil {
			return err
		}
		return os.Chmod(image, 0o400)
	})
}

// DeleteSnapshot removes a snapshot; volumes restored from it stay.
func (s *Store) DeleteSnapshot(id string) error {
	if _, err := s.Snapshot(id); err != nil {
		return err
	}
	return unmakeFolder(s.snapshotsDir(), id)
}
