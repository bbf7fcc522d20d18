package volumes

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"time"
)

// Mode is how a volume is handed to a pod: the two values of a
// PersistentVolume's spec.volumeMode.
type Mode string

const (
	Filesystem Mode = "Filesystem"
	Block      Mode = "Block"
)

// Format says how far the driver itself got with making a file system on a
// volume. It is what allows a retry after a crash to be both safe and complete.
type Format string

const (
	// Unformatted: the driver never ran mkfs here. Only an image without a
	// single non-zero byte may be formatted.
	Unformatted Format = ""
	// Formatting: mkfs was started and its end was never recorded. Nobody can
	// have mounted the volume, so mkfs may run again over its own remains.
	Formatting Format = "Formatting"
	// Formatted: the volume may hold a user's data. It is never formatted again.
	Formatted Format = "Formatted"
)

// SourceKind says what a volume's first content was copied from.
type SourceKind string

const (
	FromSnapshot SourceKind = "Snapshot"
	FromVolume   SourceKind = "Volume"
)

// Source names what a volume was restored or cloned from.
type Source struct {
	Kind SourceKind `json:"kind"`
	ID   string     `json:"id"`
}

// Volume is the record kept beside a volume's image.
type Volume struct {
	ID            string    `json:"id"`
	Name          string    `json:"name"`
	CapacityBytes int64     `json:"capacityBytes"`
	Mode          Mode      `json:"mode"`
	Format        Format    `json:"format,omitempty"`
	Source        *Source   `json:"source,omitempty"`
	CreatedAt     time.Time `json:"createdAt"`
}

// Snapshot is the record kept beside a snapshot's image. A snapshot is a full
// copy: it outlives the volume it was taken from.
type Snapshot struct {
	ID             string    `json:"id"`
	Name           string    `json:"name"`
	SourceVolumeID string    `json:"sourceVolumeID"`
	SizeBytes      int64     `json:"sizeBytes"`
	Mode           Mode      `json:"mode"`
	Format         Format    `json:"format,omitempty"`
	CreatedAt      time.Time `json:"createdAt"`
}

// VolumeID is a function of the name the orchestrator chose, so that a retried
// request finds what an earlier one made, or left half made.
func VolumeID(name string) string { return "vol-" + digest(name) }

// SnapshotID is the same for snapshots.
func SnapshotID(name string) string { return "snap-" + digest(name) }

func digest(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:16])
}

// An ID arrives from outside and becomes a folder name: nothing but our own
// shape is looked up on disk.
var (
	volumeID   = regexp.MustCompile(`^vol-[0-9a-f]{32}$`)
	snapshotID = regexp.MustCompile(`^snap-[0-9a-f]{32}$`)
)

// IsVolumeID says whether the text has the shape of a volume's ID.
func IsVolumeID(text string) bool { return volumeID.MatchString(text) }

// IsSnapshotID says whether the text has the shape of a snapshot's ID.
func IsSnapshotID(text string) bool { return snapshotID.MatchString(text) }
