package driver

import (
	"fmt"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// busy keeps two requests from working on one volume or snapshot at a time. The
// second is told to come again (ABORTED), as the CSI specification has it: a
// copy may take longer than a caller's patience, and its retry must not start
// a second one.
type busy struct {
	mutex sync.Mutex
	keys  map[string]struct{}
}

// take claims all keys or none.
func (b *busy) take(keys ...string) (release func(), err error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	for _, key := range keys {
		if _, taken := b.keys[key]; taken {
			return nil, status.Error(codes.Aborted, fmt.Sprintf("another request for %s is under way: try again", key))
		}
	}
	for _, key := range keys {
		b.keys[key] = struct{}{}
	}
	return func() {
		b.mutex.Lock()
		defer b.mutex.Unlock()
		for _, key := range keys {
			delete(b.keys, key)
		}
	}, nil
}
