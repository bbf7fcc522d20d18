package volumes

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

var errData = errors.New("holds data")

// Blank says whether an image holds nothing but zeros. Looking for known
// signatures would miss what it doesn't know, such as a database on a raw
// device; on a new sparse image this reads nothing at all.
func Blank(image string) (bool, error) {
	file, err := os.Open(image)
	if err != nil {
		return false, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return false, err
	}
	zeros, buffer := make([]byte, mebibyte), make([]byte, mebibyte)
	err = eachExtent(file, info.Size(), func(start, end int64) error {
		for at := start; at < end; at += mebibyte {
			chunk := buffer[:min(mebibyte, end-at)]
			if _, err := file.ReadAt(chunk, at); err != nil && !errors.Is(err, io.EOF) {
				return fmt.Errorf("read %s: %w", image, err)
			}
			if !bytes.Equal(chunk, zeros[:len(chunk)]) {
				return errData
			}
		}
		return nil
	})
	if errors.Is(err, errData) {
		return false, nil
	}
	return err == nil, err
}
