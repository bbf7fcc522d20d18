package volumes

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// copyImage makes to a copy of from: by sharing blocks where the file system
// can, else data by data, holes staying holes. The copy is on the disk when the
// function returns.
func copyImage(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = unix.IoctlFileClone(int(target.Fd()), int(source.Fd()))
	if cannotClone(err) {
		err = copySparse(source, target)
	}
	if err == nil {
		err = target.Sync()
	}
	if closeErr := target.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return nil
}

func cannotClone(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EXDEV) ||
		errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)
}

func copySparse(source, target *os.File) error {
	info, err := source.Stat()
	if err != nil {
		return err
	}
	if err := target.Truncate(info.Size()); err != nil {
		return err
	}
	return eachExtent(source, info.Size(), func(start, end int64) error {
		if _, err := source.Seek(start, io.SeekStart); err != nil {
			return err
		}
		if _, err := target.Seek(start, io.SeekStart); err != nil {
			return err
		}
		// Between two files os.File copies inside the kernel (copy_file_range).
		_, err := io.CopyN(target, source, end-start)
		return err
	})
}

// eachExtent calls visit with every range [start, end) that may hold data;
// holes, which read as zeros, are left out.
func eachExtent(file *os.File, size int64, visit func(start, end int64) error) error {
	for end := int64(0); end < size; {
		start, err := unix.Seek(int(file.Fd()), end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // nothing but a hole up to the end
		}
		if err != nil {
			return fmt.Errorf("find data in %s: %w", file.Name(), err)
		}
		if end, err = unix.Seek(int(file.Fd()), start, unix.SEEK_HOLE); err != nil {
			return fmt.Errorf("find holes in %s: %w", file.Name(), err)
		}
		if err := visit(start, min(end, size)); err != nil {
			return err
		}
	}
	return nil
}

// canReflink tries a clone of one block: the only answer that can be trusted. On
// a full disk there is none: until the next start nothing relies on reflinks then.
func canReflink(dir string) (bool, error) {
	cloned, err := cloneOneBlock(dir)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return false, nil
	}
	return cloned, err
}

func cloneOneBlock(dir string) (bool, error) {
	probe, err := os.MkdirTemp(dir, ".reflink-")
	if err != nil {
		return false, err
	}
	from, to := filepath.Join(probe, "from"), filepath.Join(probe, "to")
	defer func() {
		os.Remove(from)
		os.Remove(to)
		os.Remove(probe)
	}()
	source, err := os.Create(from)
	if err != nil {
		return false, err
	}
	defer source.Close()
	if _, err := source.Write(make([]byte, 4096)); err != nil {
		return false, err
	}
	target, err := os.Create(to)
	if err != nil {
		return false, err
	}
	defer target.Close()
	return unix.IoctlFileClone(int(target.Fd()), int(source.Fd())) == nil, nil
}
