package volumes

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Wanted is what a new volume shall be.
type Wanted struct {
	Name   string
	Size   Range
	Mode   Mode
	Source *Source
}

// Existing finds the volume that an earlier, equal request made. A volume of
// that name which differs in anything asked for gives ErrIncompatible.
func (s *Store) Existing(wanted Wanted) (Volume, error) {
	volume, err := s.Volume(VolumeID(wanted.Name))
	if err != nil {
		return volume, err
	}
	switch {
	case !wanted.Size.Admits(volume.CapacityBytes):
		return volume, fmt.Errorf("volume %q %w: it has %d bytes, asked are %d to %d",
			wanted.Name, ErrIncompatible, volume.CapacityBytes, wanted.Size.Required, wanted.Size.Limit)
	case volume.Mode != wanted.Mode:
		return volume, fmt.Errorf("volume %q %w: its mode is %s, asked is %s", wanted.Name, ErrIncompatible, volume.Mode, wanted.Mode)
	case !sameSource(volume.Source, wanted.Source):
		return volume, fmt.Errorf("volume %q %w: it has another content source", wanted.Name, ErrIncompatible)
	}
	return volume, nil
}

func sameSource(a, b *Source) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// CreateVolume makes a volume, blank or as a copy of its source. The caller
// keeps a source that is in use still while this runs.
func (s *Store) CreateVolume(wanted Wanted) (Volume, error) {
	volume := Volume{ID: VolumeID(wanted.Name), Name: wanted.Name, Mode: wanted.Mode, Source: wanted.Source, CreatedAt: time.Now().UTC()}
	origin, err := s.origin(wanted)
	if err != nil {
		return volume, err
	}
	size := wanted.Size
	if size.Required == 0 {
		size.Required = origin.size
	}
	if volume.CapacityBytes, err = size.Choose(wanted.Mode); err != nil {
		return volume, err
	}
	if volume.CapacityBytes < origin.size {
		return volume, fmt.Errorf("%w: the content source has %d bytes, a copy can't have %d: ask for at least as much", ErrOutOfRange, origin.size, volume.CapacityBytes)
	}
	if err := s.requireSpace(volume.CapacityBytes); err != nil {
		return volume, err
	}
	volume.Format = origin.format
	return volume, makeFolder(s.volumesDir(), volume.ID, volume, func(image string) error {
		if origin.image == "" {
			return newImage(image, volume.CapacityBytes)
		}
		if err := copyImage(origin.image, image); err != nil {
			return err
		}
		return resize(image, volume.CapacityBytes)
	})
}

// origin is what a new volume's content is copied from; the zero value: nothing.
type origin struct {
	image  string
	size   int64
	format Format
}

func (s *Store) origin(wanted Wanted) (origin, error) {
	if wanted.Source == nil {
		return origin{}, nil
	}
	var found origin
	var mode Mode
	switch wanted.Source.Kind {
	case FromSnapshot:
		snapshot, err := s.Snapshot(wanted.Source.ID)
		if err != nil {
			return found, err
		}
		found, mode = origin{s.snapshotImage(snapshot.ID), snapshot.SizeBytes, snapshot.Format}, snapshot.Mode
	case FromVolume:
		volume, err := s.Volume(wanted.Source.ID)
		if err != nil {
			return found, err
		}
		found, mode = origin{s.Image(volume.ID), volume.CapacityBytes, volume.Format}, volume.Mode
	default:
		return found, fmt.Errorf("content source %q: %w", wanted.Source.Kind, ErrNotFound)
	}
	if mode == Block {
		// What a pod wrote on a raw device is not known to be a file system.
		found.format = Unformatted
	}
	used, err := allocated(found.image)
	if err != nil {
		return found, err
	}
	return found, s.requireFree(used)
}

func newImage(path string, size int64) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = file.Truncate(size)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

func resize(path string, size int64) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && info.Size() < size { // never cut off data
		err = file.Truncate(size)
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// Expand makes a volume at least as large as required; one that is larger stays
// as it is. A limit below the present size gives ErrOutOfRange: volumes never
// shrink. The image grows before the record, so that a retry after a crash in
// between only repeats what has no effect.
func (s *Store) Expand(id string, size Range) (Volume, error) {
	volume, err := s.Volume(id)
	if err != nil {
		return volume, err
	}
	if size.Limit > 0 && size.Limit < volume.CapacityBytes {
		return volume, fmt.Errorf("%w: volume %s has %d bytes and the limit is %d: volumes never shrink", ErrOutOfRange, id, volume.CapacityBytes, size.Limit)
	}
	if size.Required <= volume.CapacityBytes && size.Required >= 0 {
		return volume, nil
	}
	wanted, err := size.Choose(volume.Mode)
	if err != nil {
		return volume, err
	}
	if err := s.requireSpace(wanted - volume.CapacityBytes); err != nil {
		return volume, err
	}
	if err := resize(s.Image(id), wanted); err != nil {
		return volume, fmt.Errorf("grow %s: %w", id, err)
	}
	volume.CapacityBytes = wanted
	return volume, s.save(volume)
}

// SetFormat records how far formatting got.
func (s *Store) SetFormat(id string, format Format) error {
	volume, err := s.Volume(id)
	if err != nil {
		return err
	}
	volume.Format = format
	return s.save(volume)
}

func (s *Store) save(volume Volume) error {
	return writeRecord(filepath.Join(s.volumesDir(), volume.ID, recordFile), volume)
}

// DeleteVolume removes a volume; its snapshots stay.
func (s *Store) DeleteVolume(id string) error {
	if _, err := s.Volume(id); err != nil {
		return err
	}
	return unmakeFolder(s.volumesDir(), id)
}
