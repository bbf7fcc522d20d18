// Package xfs makes and grows XFS file systems. XFS, because growing ext4 while
// mounted needs CAP_SYS_RESOURCE, which containers and many virtual machines
// withhold; growing XFS needs CAP_SYS_ADMIN, which mounting needs anyway.
package xfs

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// Type is the file system's name for mount(8) and blkid(8).
const Type = "xfs"

// MountOptions are needed on every mount: a restored snapshot carries its
// origin's UUID, which XFS otherwise refuses to mount twice.
var MountOptions = []string{"nouuid"}

// Tools are the programs that this package starts.
var Tools = []string{"mkfs.xfs", "xfs_growfs", "blkid"}

// Format makes a file system. Without overwrite mkfs.xfs itself refuses a device
// on which it sees any other file system or partition table.
func Format(device string, overwrite bool) error {
	arguments := []string{"-q", "-K"} // -K: a fresh sparse image has nothing to discard
	if overwrite {
		arguments = append(arguments, "-f")
	}
	return run("mkfs.xfs", append(arguments, device)...)
}

// Grow makes the mounted file system as large as its device; if it already is,
// nothing happens.
func Grow(mountPoint string) error {
	return run("xfs_growfs", "-d", mountPoint)
}

// Signature names what blkid(8) sees on an image ("ext4", "gpt", …); empty: it
// knows nothing of the content, which doesn't mean that there is none.
func Signature(image string) (string, error) {
	for _, tag := range []string{"TYPE", "PTTYPE"} {
		output, err := exec.Command("blkid", "--probe", "--output", "value", "--match-tag", tag, image).Output()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			switch exit.ExitCode() {
			case 2: // nothing found (blkid(8))
				continue
			case 8:
				return "several contradicting signatures", nil
			}
		}
		if err != nil {
			return "", fmt.Errorf("blkid %s: %w", image, err)
		}
		if found := strings.TrimSpace(string(output)); found != "" {
			return found, nil
		}
	}
	return "", nil
}

func run(name string, arguments ...string) error {
	output, err := exec.Command(name, arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(arguments, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}
