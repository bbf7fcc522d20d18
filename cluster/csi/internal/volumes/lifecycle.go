package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// makeFolder builds a folder under a hidden name and gives it its own at the end.
func makeFolder(parent, id string, record any, fill func(image string) error) error {
	hidden := filepath.Join(parent, making+id)
	// What an interrupted attempt left has no record anybody was told about.
	if err := removeFolder(hidden); err != nil {
		return err
	}
	if err := os.Mkdir(hidden, 0o700); err != nil {
		return err
	}
	err := fill(filepath.Join(hidden, imageFile))
	if err == nil {
		err = writeRecord(filepath.Join(hidden, recordFile), record)
	}
	if err == nil {
		err = os.Rename(hidden, filepath.Join(parent, id))
	}
	if err != nil {
		return errors.Join(err, removeFolder(hidden))
	}
	return syncDirectory(parent)
}

// unmakeFolder takes a folder out of sight in one step and then removes it.
func unmakeFolder(parent, id string) error {
	hidden := filepath.Join(parent, removing+id)
	if err := removeFolder(hidden); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(parent, id), hidden); err != nil {
		return err
	}
	if err := syncDirectory(parent); err != nil {
		return err
	}
	return removeFolder(hidden)
}

// removeFolder removes the files this package makes and then the folder, which
// fails if anything else was put there: what we didn't make we don't delete.
func removeFolder(folder string) error {
	for _, name := range []string{imageFile, recordFile, recordFile + ".next"} {
		if err := os.Remove(filepath.Join(folder, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Remove(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s holds files that are not the driver's: %w", folder, err)
	}
	return nil
}

func sweep(parent string) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), making) || strings.HasPrefix(entry.Name(), removing) {
			// One folder that can't go is no reason to serve no volume at all.
			if err := removeFolder(filepath.Join(parent, entry.Name())); err != nil {
				slog.Warn("the remains of an interrupted request stay", "error", err)
			}
		}
	}
	return syncDirectory(parent)
}
