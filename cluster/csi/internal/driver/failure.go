package driver

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hearth.dev/cluster/csi/internal/volumes"
)

// failure gives an error the gRPC code that the CSI specification assigns to it.
func failure(err error) error {
	if err == nil {
		return nil
	}
	if _, isStatus := status.FromError(err); isStatus {
		return err
	}
	code := codes.Internal
	switch {
	case errors.Is(err, volumes.ErrNotFound):
		code = codes.NotFound
	case errors.Is(err, volumes.ErrIncompatible):
		code = codes.AlreadyExists
	case errors.Is(err, volumes.ErrOutOfRange):
		code = codes.OutOfRange
	case errors.Is(err, volumes.ErrNoSpace):
		code = codes.ResourceExhausted
	}
	return status.Error(code, err.Error())
}

func invalid(format string, values ...any) error {
	return status.Error(codes.InvalidArgument, fmt.Sprintf(format, values...))
}

func refused(format string, values ...any) error {
	return status.Error(codes.FailedPrecondition, fmt.Sprintf(format, values...))
}

// need checks that required fields of a request are set: pairs of name and value.
func need(pairs ...string) error {
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			return invalid("%s is missing in the request", pairs[i])
		}
	}
	return nil
}
