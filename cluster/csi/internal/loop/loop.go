// Package loop turns image files into block devices, by the kernel's own
// interface (linux/loop.h) rather than by reading losetup's output.
package loop

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Device is an attached loop device.
type Device struct {
	Path string // such as /dev/loop3
}

// Number is the device number as the kernel writes it, such as "7:3".
func (d Device) Number() (string, error) {
	var stat unix.Stat_t
	if err := unix.Stat(d.Path, &stat); err != nil {
		return "", fmt.Errorf("stat %s: %w", d.Path, err)
	}
	return fmt.Sprintf("%d:%d", unix.Major(stat.Rdev), unix.Minor(stat.Rdev)), nil
}

// Options of an attachment.
type Options struct {
	ReadOnly bool
	// AutoClear lets the kernel detach the device at its last close or unmount,
	// so that not even a killed driver leaves one behind.
	AutoClear bool
}

// Attach puts a loop device over the image. The file keeps the device open: with
// AutoClear, closing it detaches the device unless something else (a mount)
// holds it by then.
func Attach(image string, options Options) (Device, *os.File, error) {
	mode, flags := os.O_RDWR, uint32(0)
	if options.ReadOnly {
		mode, flags = os.O_RDONLY, unix.LO_FLAGS_READ_ONLY
	}
	if options.AutoClear {
		flags |= unix.LO_FLAGS_AUTOCLEAR
	}
	backing, err := os.OpenFile(image, mode, 0)
	if err != nil {
		return Device{}, nil, err
	}
	defer backing.Close()
	// Another process may take the free device that we were told of: ask again.
	for range 64 {
		device, file, err := configureFree(backing, mode, flags)
		if err == nil {
			return device, file, nil
		}
		// A new device's node may come a moment late.
		if !errors.Is(err, unix.EBUSY) && !errors.Is(err, os.ErrNotExist) {
			return Device{}, nil, fmt.Errorf("attach %s: %w", image, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return Device{}, nil, fmt.Errorf("attach %s: every free loop device was taken by somebody else: look at `losetup -a`", image)
}

func configureFree(backing *os.File, mode int, flags uint32) (Device, *os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return Device{}, nil, fmt.Errorf("this kernel offers no loop devices (modprobe loop): %w", err)
	}
	defer control.Close()
	number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return Device{}, nil, fmt.Errorf("ask for a free loop device: %w", err)
	}
	device := Device{Path: "/dev/loop" + strconv.Itoa(number)}
	file, err := os.OpenFile(device.Path, mode, 0)
	if err != nil {
		return Device{}, nil, err
	}
	config := unix.LoopConfig{Fd: uint32(backing.Fd()), Info: unix.LoopInfo64{Flags: flags}}
	copy(config.Info.File_name[:len(config.Info.File_name)-1], backing.Name())
	if err := unix.IoctlLoopConfigure(int(file.Fd()), &config); err != nil {
		file.Close()
		return Device{}, nil, err
	}
	return device, file, nil
}

// Find gives the device that the image is attached to, if any.
func Find(image string) (Device, bool, error) {
	var wanted unix.Stat_t
	if err := unix.Stat(image, &wanted); err != nil {
		return Device{}, false, fmt.Errorf("stat %s: %w", image, err)
	}
	attached, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return Device{}, false, err
	}
	for _, attribute := range attached {
		name, err := os.ReadFile(attribute)
		// The base name alone decides whether to look closer: opening devices of
		// other programs would delay their detachment.
		if err != nil || !strings.HasSuffix(strings.TrimSpace(string(name)), filepath.Join("/", filepath.Base(image))) {
			continue // detached since, or another file
		}
		device := Device{Path: "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(attribute)))}
		same, err := device.backedBy(wanted)
		if err != nil {
			return Device{}, false, err
		}
		if same {
			return device, true, nil
		}
	}
	return Device{}, false, nil
}

func (d Device) backedBy(image unix.Stat_t) (bool, error) {
	file, err := os.OpenFile(d.Path, os.O_RDONLY, 0)
	if err != nil {
		return false, ignoreDetached(err)
	}
	defer file.Close()
	info, err := unix.IoctlLoopGetStatus64(int(file.Fd()))
	if err != nil {
		return false, ignoreDetached(err)
	}
	return info.Device == image.Dev && info.Inode == image.Ino, nil
}

func ignoreDetached(err error) error {
	if errors.Is(err, unix.ENXIO) || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Resize makes the device as large as its image has become.
func (d Device) Resize() error {
	return d.control("resize", unix.LOOP_SET_CAPACITY)
}

// Detach frees the device; while something still holds it, the kernel does so at
// the last close.
func (d Device) Detach() error {
	err := d.control("detach", unix.LOOP_CLR_FD)
	if errors.Is(err, unix.ENXIO) {
		return nil
	}
	return err
}

func (d Device) control(what string, request uint) error {
	file, err := os.OpenFile(d.Path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, file.Fd(), uintptr(request), 0); errno != 0 {
		return fmt.Errorf("%s %s: %w", what, d.Path, errno)
	}
	return nil
}

// Flush writes what the kernel holds back for the device to its image.
func (d Device) Flush() error {
	file, err := os.OpenFile(d.Path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := file.Sync(); err != nil {
		return fmt.Errorf("flush %s: %w", d.Path, err)
	}
	return nil
}

// Size is the device's size in bytes.
func (d Device) Size() (int64, error) { return SizeOf(d.Path) }

// SizeOf is the size in bytes of the block device whose node is at path.
func SizeOf(path string) (int64, error) {
	file, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	size, err := file.Seek(0, 2) // io.SeekEnd: the end of a block device is its size
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", path, err)
	}
	return size, nil
}
