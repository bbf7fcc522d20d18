// Package mount changes and reads the mounts of the driver's mount namespace,
// which must be the kubelet's and the container runtime's too.
package mount

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Entry is one line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
type Entry struct {
	Device   string // "major:minor"
	Root     string // what of the file system is mounted: "/", or a device node's path in devtmpfs
	Target   string
	Type     string
	ReadOnly bool
}

// Table lists the mounts, oldest first: of two at one target the later one is seen.
func Table() ([]Entry, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var entries []Entry
	for lines := bufio.NewScanner(file); ; {
		if !lines.Scan() {
			return entries, lines.Err()
		}
		entry, err := parse(lines.Text())
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry)
	}
}

func parse(line string) (Entry, error) {
	front, back, found := strings.Cut(line, " - ")
	fields, tail := strings.Fields(front), strings.Fields(back)
	if !found || len(fields) < 6 || len(tail) < 1 {
		return Entry{}, fmt.Errorf("mountinfo line not understood: %q", line)
	}
	readOnly := false
	for option := range strings.SplitSeq(fields[5], ",") {
		readOnly = readOnly || option == "ro"
	}
	return Entry{Device: fields[2], Root: unescape(fields[3]), Target: unescape(fields[4]), Type: tail[0], ReadOnly: readOnly}, nil
}

// unescape undoes the kernel's octal escapes (\040 is a space).
func unescape(text string) string {
	if !strings.Contains(text, `\`) {
		return text
	}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) {
			if code, err := strconv.ParseUint(text[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(code))
				i += 3
				continue
			}
		}
		out.WriteByte(text[i])
	}
	return out.String()
}

// At gives the mount that is seen at target, if any.
func At(target string) (Entry, bool, error) {
	entries, err := Table()
	if err != nil {
		return Entry{}, false, err
	}
	target = resolve(target)
	for i := len(entries) - 1; i >= 0; i-- {
		if entries[i].Target == target {
			return entries[i], true, nil
		}
	}
	return Entry{}, false, nil
}

// Of lists where the file system on a device ("major:minor") is mounted.
func Of(device string) ([]Entry, error) {
	entries, err := Table()
	if err != nil {
		return nil, err
	}
	var found []Entry
	for _, entry := range entries {
		if entry.Device == device {
			found = append(found, entry)
		}
	}
	return found, nil
}

// resolve follows symbolic links, as the kernel did when it mounted; the last
// element may be missing.
func resolve(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if parent, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(parent, filepath.Base(path))
	}
	return filepath.Clean(path)
}
