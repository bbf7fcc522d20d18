package volumes

import "errors"

// What can be wrong with a request. The driver turns each into the gRPC code
// that the CSI specification asks for.
var (
	ErrNotFound     = errors.New("not found")
	ErrIncompatible = errors.New("exists with other properties")
	ErrOutOfRange   = errors.New("size out of range")
	ErrNoSpace      = errors.New("not enough space")
)
