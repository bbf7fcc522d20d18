package volumes

import (
	"fmt"
	"math"
)

const (
	mebibyte = 1 << 20
	// sizeUnit is the granularity of a volume: a multiple of every sector and
	// page size, so that no loop device loses a partial last sector.
	sizeUnit = mebibyte
	// MinimumFilesystemBytes is what mkfs.xfs needs since xfsprogs 5.19
	// ("Filesystem must be larger than 300MB").
	MinimumFilesystemBytes = 300 * mebibyte
	// DefaultBytes is the size of a volume for which nobody asked a size.
	DefaultBytes = 1 << 30
)

// MinimumBytes is the smallest volume of a mode.
func MinimumBytes(mode Mode) int64 {
	if mode == Filesystem {
		return MinimumFilesystemBytes
	}
	return sizeUnit
}

// Range is a requested size in bytes. Zero means: not given.
type Range struct {
	Required int64
	Limit    int64
}

// Choose picks the size of a new volume: what is required, rounded up to whole
// MiB and to the mode's minimum, and never above the limit. Larger than asked is
// what the CSI specification allows; smaller is not.
func (r Range) Choose(mode Mode) (int64, error) {
	if r.Required < 0 || r.Limit < 0 || (r.Limit > 0 && r.Required > r.Limit) {
		return 0, fmt.Errorf("%w: required %d bytes, limit %d bytes: the limit must not be below the requirement", ErrOutOfRange, r.Required, r.Limit)
	}
	if r.Required > math.MaxInt64-sizeUnit {
		return 0, fmt.Errorf("%w: %d bytes is more than a file can hold", ErrOutOfRange, r.Required)
	}
	wanted := r.Required
	if wanted == 0 {
		wanted = DefaultBytes
		if r.Limit > 0 && r.Limit < wanted {
			wanted = r.Limit / sizeUnit * sizeUnit
		}
	}
	size := max((wanted+sizeUnit-1)/sizeUnit*sizeUnit, MinimumBytes(mode))
	if r.Limit > 0 && size > r.Limit {
		return 0, fmt.Errorf("%w: a %s volume for %d bytes takes %d bytes (whole MiB, at least %d), which the limit of %d bytes forbids: raise the limit",
			ErrOutOfRange, mode, r.Required, size, MinimumBytes(mode), r.Limit)
	}
	return size, nil
}

// Admits says whether a volume of this size satisfies the request.
func (r Range) Admits(size int64) bool {
	return size >= r.Required && (r.Limit == 0 || size <= r.Limit)
}
