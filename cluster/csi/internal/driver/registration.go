package driver

import (
	"context"
	"log/slog"

	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// Registration tells the kubelet of the driver: what the sidecar
// node-driver-registrar does elsewhere, served by the driver itself.
type Registration struct {
	registration.UnimplementedRegistrationServer

	// Endpoint is the path of the driver's own socket, as the kubelet sees it.
	Endpoint string
}

// GetInfo names the driver and its socket. The version is the CSI's, which the
// kubelet checks to begin with 1 (pkg/volume/csi/csi_plugin.go).
func (r *Registration) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type: registration.CSIPlugin, Name: Name, Endpoint: r.Endpoint, SupportedVersions: []string{"1.0.0"},
	}, nil
}

// NotifyRegistrationStatus hears what the kubelet made of it. It tries again by
// itself after a failure.
func (r *Registration) NotifyRegistrationStatus(_ context.Context, result *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	if result.GetPluginRegistered() {
		slog.Info("the kubelet registered the driver")
	} else {
		slog.Error("the kubelet refused the driver", "error", result.GetError())
	}
	return &registration.RegistrationStatusResponse{}, nil
}
