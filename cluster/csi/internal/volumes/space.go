package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Available is how many bytes can still be promised to new volumes: what the
// disk has free, plus what volumes occupy already, times the overcommit factor,
// less what was promised.
func (s *Store) Available() (int64, error) {
	free, err := s.free()
	if err != nil {
		return 0, err
	}
	volumes, err := s.Volumes()
	if err != nil {
		return 0, err
	}
	var promised, occupied int64
	for _, volume := range volumes {
		promised += volume.CapacityBytes
		used, err := allocated(s.Image(volume.ID))
		if errors.Is(err, fs.ErrNotExist) {
			promised -= volume.CapacityBytes // removed since it was listed
			continue
		}
		if err != nil {
			return 0, err
		}
		occupied += used
	}
	return max(0, int64(float64(free+occupied)*s.overcommit)-promised), nil
}

func (s *Store) requireSpace(bytes int64) error {
	available, err := s.Available()
	if err != nil {
		return err
	}
	if bytes > available {
		return fmt.Errorf("%w: %d more bytes are asked, %d can still be promised in %s (overcommit %g): delete volumes, free the disk, or start the driver with a higher --overcommit",
			ErrNoSpace, bytes, available, s.dir, s.overcommit)
	}
	return nil
}

// requireFree guards a copy, which takes real blocks at once.
func (s *Store) requireFree(bytes int64) error {
	free, err := s.free()
	if err != nil {
		return err
	}
	if !s.reflinks && bytes > free {
		return fmt.Errorf("%w: the copy takes %d bytes, %s has %d free", ErrNoSpace, bytes, s.dir, free)
	}
	return nil
}

func (s *Store) free() (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(s.dir, &stat); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", s.dir, err)
	}
	return int64(stat.Bavail) * stat.Bsize, nil
}

// allocated is how many bytes of a sparse file have blocks on the disk.
func allocated(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return info.Size(), nil
	}
	const statBlock = 512 // st_blocks counts 512-byte units, whatever the file system (stat(2))
	return stat.Blocks * statBlock, nil
}
