package driver

import (
	"context"
	"errors"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"hearth.dev/cluster/csi/internal/volumes"
)

// ControllerGetCapabilities lists what the controller service can do.
func (d *Driver) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	response := &csi.ControllerGetCapabilitiesResponse{}
	for _, kind := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_LIST_VOLUMES,
		csi.ControllerServiceCapability_RPC_GET_CAPACITY,
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_LIST_SNAPSHOTS,
		csi.ControllerServiceCapability_RPC_CLONE_VOLUME,
		csi.ControllerServiceCapability_RPC_EXPAND_VOLUME,
		csi.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		response.Capabilities = append(response.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: kind}},
		})
	}
	return response, nil
}

// CreateVolume makes a volume, or finds the one an equal request made.
func (d *Driver) CreateVolume(_ context.Context, request *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	wanted, err := d.wanted(request)
	if err != nil {
		return nil, err
	}
	keys := []string{volumes.VolumeID(wanted.Name)}
	if wanted.Source != nil {
		keys = append(keys, wanted.Source.ID)
	}
	release, err := d.busy.take(keys...)
	if err != nil {
		return nil, err
	}
	defer release()
	volume, err := d.store.Existing(wanted)
	if errors.Is(err, volumes.ErrNotFound) {
		volume, err = d.create(wanted)
	}
	if err != nil {
		return nil, failure(err)
	}
	return &csi.CreateVolumeResponse{Volume: d.describe(volume)}, nil
}

func (d *Driver) wanted(request *csi.CreateVolumeRequest) (volumes.Wanted, error) {
	wanted := volumes.Wanted{Name: request.GetName(), Size: sizeRange(request.GetCapacityRange())}
	if err := need("name", wanted.Name); err != nil {
		return wanted, err
	}
	if err := noParameters(request.GetParameters()); err != nil {
		return wanted, err
	}
	if len(request.GetMutableParameters()) > 0 {
		return wanted, invalid("mutable parameters are not supported: leave volumeAttributesClassName out")
	}
	if err := d.requireReachable(request.GetAccessibilityRequirements()); err != nil {
		return wanted, err
	}
	var err error
	if wanted.Mode, err = modeOf(request.GetVolumeCapabilities()); err != nil {
		return wanted, err
	}
	wanted.Source, err = sourceOf(request.GetVolumeContentSource())
	return wanted, err
}

func sourceOf(content *csi.VolumeContentSource) (*volumes.Source, error) {
	switch {
	case content == nil:
		return nil, nil
	case content.GetSnapshot() != nil:
		id := content.GetSnapshot().GetSnapshotId()
		return &volumes.Source{Kind: volumes.FromSnapshot, ID: id}, need("snapshot_id", id)
	case content.GetVolume() != nil:
		id := content.GetVolume().GetVolumeId()
		return &volumes.Source{Kind: volumes.FromVolume, ID: id}, need("source volume_id", id)
	}
	return nil, invalid("the content source is neither a snapshot nor a volume")
}

// requireReachable refuses a volume that is asked for other nodes only.
func (d *Driver) requireReachable(requirement *csi.TopologyRequirement) error {
	if len(requirement.GetRequisite()) == 0 {
		return nil
	}
	for _, topology := range requirement.GetRequisite() {
		if node, named := topology.GetSegments()[TopologyKey]; !named || node == d.node {
			return nil
		}
	}
	return status.Errorf(codes.ResourceExhausted, "volumes can be made on node %s only, and none of the requested topologies is that node", d.node)
}

func (d *Driver) create(wanted volumes.Wanted) (volumes.Volume, error) {
	if wanted.Source == nil || wanted.Source.Kind != volumes.FromVolume {
		return d.store.CreateVolume(wanted)
	}
	source, err := d.store.Volume(wanted.Source.ID)
	if err != nil {
		return volumes.Volume{}, err
	}
	var made volumes.Volume
	err = d.whileStill(source, func() error {
		made, err = d.store.CreateVolume(wanted)
		return err
	})
	return made, err
}

// DeleteVolume removes a volume that no pod uses.
func (d *Driver) DeleteVolume(_ context.Context, request *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	id := request.GetVolumeId()
	if err := need("volume_id", id); err != nil {
		return nil, err
	}
	release, err := d.busy.take(id)
	if err != nil {
		return nil, err
	}
	defer release()
	if _, err := d.store.Volume(id); errors.Is(err, volumes.ErrNotFound) {
		return &csi.DeleteVolumeResponse{}, nil
	} else if err != nil {
		return nil, failure(err)
	}
	device, _, err := d.mounts(id)
	if err != nil {
		return nil, failure(err)
	}
	if device != nil {
		return nil, refused("volume %s is still in use on this node as %s: it can be deleted once the pod is gone", id, device.Path)
	}
	return &csi.DeleteVolumeResponse{}, failure(d.store.DeleteVolume(id))
}

// ControllerExpandVolume makes a volume's image larger; the file system on it
// follows in NodeExpandVolume.
func (d *Driver) ControllerExpandVolume(_ context.Context, request *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	id := request.GetVolumeId()
	if err := need("volume_id", id); err != nil {
		return nil, err
	}
	if request.GetCapacityRange() == nil {
		return nil, invalid("capacity_range is missing in the request")
	}
	release, err := d.busy.take(id)
	if err != nil {
		return nil, err
	}
	defer release()
	volume, err := d.store.Expand(id, sizeRange(request.GetCapacityRange()))
	if err != nil {
		return nil, failure(err)
	}
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: volume.CapacityBytes, NodeExpansionRequired: true}, nil
}

// GetCapacity says how many bytes can still be promised to new volumes.
func (d *Driver) GetCapacity(_ context.Context, request *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	if node, named := request.GetAccessibleTopology().GetSegments()[TopologyKey]; named && node != d.node {
		return &csi.GetCapacityResponse{}, nil
	}
	mode := volumes.Filesystem
	if capabilities := request.GetVolumeCapabilities(); len(capabilities) > 0 {
		var err error
		if mode, err = modeOf(capabilities); err != nil {
			return &csi.GetCapacityResponse{}, nil // what can't be made has no capacity
		}
	}
	available, err := d.store.Available()
	if err != nil {
		return nil, failure(err)
	}
	return &csi.GetCapacityResponse{
		AvailableCapacity: available,
		MaximumVolumeSize: wrapperspb.Int64(available),
		MinimumVolumeSize: wrapperspb.Int64(volumes.MinimumBytes(mode)),
	}, nil
}

// ValidateVolumeCapabilities confirms the capabilities that a volume really has.
func (d *Driver) ValidateVolumeCapabilities(_ context.Context, request *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if err := need("volume_id", request.GetVolumeId()); err != nil {
		return nil, err
	}
	if len(request.GetVolumeCapabilities()) == 0 {
		return nil, invalid("volume_capabilities is missing in the request")
	}
	volume, err := d.store.Volume(request.GetVolumeId())
	if err != nil {
		return nil, failure(err)
	}
	for _, capability := range request.GetVolumeCapabilities() {
		if err := requireMode(volume, capability); err != nil {
			return &csi.ValidateVolumeCapabilitiesResponse{Message: status.Convert(err).Message()}, nil
		}
	}
	if err := noParameters(request.GetParameters()); err != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: status.Convert(err).Message()}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeCapabilities: request.GetVolumeCapabilities(),
		VolumeContext:      request.GetVolumeContext(),
		Parameters:         request.GetParameters(),
	}}, nil
}

func sizeRange(capacity *csi.CapacityRange) volumes.Range {
	return volumes.Range{Required: capacity.GetRequiredBytes(), Limit: capacity.GetLimitBytes()}
}
