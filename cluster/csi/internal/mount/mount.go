package mount

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// Filesystem mounts a device. mount(8) is used for its reading of options.
func Filesystem(device, target, kind string, options []string) error {
	command := exec.Command("mount", "-t", kind, "-o", strings.Join(options, ","), device, target)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command.Args, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}

// Bind shows source (a folder or a device node) at target as well.
func Bind(source, target string, readOnly bool) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", source, target, err)
	}
	if !readOnly {
		return nil
	}
	// The kernel ignores MS_RDONLY in the call that binds (mount(2)).
	if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return errors.Join(fmt.Errorf("make %s read-only: %w", target, err), Unmount(target))
	}
	return nil
}

// Unmount takes away every mount at target; none is fine.
func Unmount(target string) error {
	for {
		_, mounted, err := At(target)
		if err != nil || !mounted {
			return err
		}
		if err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmount %s: %w", target, err)
		}
	}
}

// Freeze flushes the file system at target and holds every write to it until
// thaw is called.
func Freeze(target string) (thaw func() error, err error) {
	const fifreeze = 0xC0045877 // _IOWR('X', 119, int), linux/fs.h
	if err := control(target, fifreeze); err != nil {
		return nil, fmt.Errorf("freeze %s: %w", target, err)
	}
	return func() error { return Thaw(target) }, nil
}

// Thaw ends a freeze; a file system that isn't frozen is fine.
func Thaw(target string) error {
	const fithaw = 0xC0045878 // _IOWR('X', 120, int), linux/fs.h
	if err := control(target, fithaw); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("thaw %s: %w", target, err)
	}
	return nil
}

func control(target string, request uintptr) error {
	folder, err := os.Open(target)
	if err != nil {
		return err
	}
	defer folder.Close()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, folder.Fd(), request, 0); errno != 0 {
		return errno
	}
	return nil
}
