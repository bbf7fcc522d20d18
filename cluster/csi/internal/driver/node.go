package driver

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"hearth.dev/cluster/csi/internal/loop"
	"hearth.dev/cluster/csi/internal/mount"
	"hearth.dev/cluster/csi/internal/volumes"
	"hearth.dev/cluster/csi/internal/xfs"
)

// NodeGetCapabilities lists what the node service can do.
func (d *Driver) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	response := &csi.NodeGetCapabilitiesResponse{}
	for _, kind := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
		csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
		csi.NodeServiceCapability_RPC_EXPAND_VOLUME,
		csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		response.Capabilities = append(response.Capabilities, &csi.NodeServiceCapability{
			Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: kind}},
		})
	}
	return response, nil
}

// NodeGetInfo names the node; volumes are reachable from it alone.
func (d *Driver) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: d.node, AccessibleTopology: d.topology()[0]}, nil
}

// NodeStageVolume attaches a volume's image to a loop device and, for a
// Filesystem volume, makes the file system if there is none yet and mounts it.
func (d *Driver) NodeStageVolume(_ context.Context, request *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	id, target, capability := request.GetVolumeId(), request.GetStagingTargetPath(), request.GetVolumeCapability()
	if err := need("volume_id", id, "staging_target_path", target); err != nil {
		return nil, err
	}
	if _, err := capabilityMode(capability); err != nil {
		return nil, err
	}
	release, err := d.busy.take(id)
	if err != nil {
		return nil, err
	}
	defer release()
	volume, err := d.store.Volume(id)
	if err != nil {
		return nil, failure(err)
	}
	if err := requireMode(volume, capability); err != nil {
		return nil, err
	}
	if volume.Mode == volumes.Block {
		err = d.stageBlock(volume, capability)
	} else {
		err = d.stageFilesystem(volume, target, capability)
	}
	return &csi.NodeStageVolumeResponse{}, failure(err)
}

// stageBlock leaves the device attached until NodeUnstageVolume: between
// staging and publishing nothing else holds it.
func (d *Driver) stageBlock(volume volumes.Volume, capability *csi.VolumeCapability) error {
	device, attached, err := loop.Find(d.store.Image(volume.ID))
	if err != nil {
		return err
	}
	if attached {
		return device.Resize() // it may have grown while the node was down
	}
	_, file, err := loop.Attach(d.store.Image(volume.ID), loop.Options{ReadOnly: readOnly(capability)})
	if err != nil {
		return err
	}
	return file.Close()
}

func (d *Driver) stageFilesystem(volume volumes.Volume, target string, capability *csi.VolumeCapability) (err error) {
	device, entries, err := d.mounts(volume.ID)
	if err != nil {
		return err
	}
	if there, mounted, err := mount.At(target); err != nil {
		return err
	} else if mounted {
		if slices.ContainsFunc(entries, func(entry mount.Entry) bool { return entry.Device == there.Device }) {
			return growStaged(device, target, capability)
		}
		return refused("the staging path %s is a mount of something else (%s, device %s): unmount that first", target, there.Type, there.Device)
	}
	path, file, err := d.hold(volume, device)
	if err != nil {
		return err
	}
	// Once mounted, the mount holds the device; before, closing detaches it.
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := d.ensureFilesystem(volume, path); err != nil {
		return err
	}
	return mountAndGrow(path, target, capability)
}

// hold opens the volume's device and attaches it first if need be. A device that
// is attached already, by a mount in a namespace that this driver doesn't see,
// is used again: a second one over the same image would give two file systems
// that don't know of each other, while a second mount of one device is one.
func (d *Driver) hold(volume volumes.Volume, device *loop.Device) (string, *os.File, error) {
	if device != nil {
		file, err := os.OpenFile(device.Path, os.O_RDWR, 0)
		if err != nil {
			return "", nil, err
		}
		if err := device.Resize(); err != nil {
			return "", nil, errors.Join(err, file.Close())
		}
		return device.Path, file, nil
	}
	attached, file, err := loop.Attach(d.store.Image(volume.ID), loop.Options{AutoClear: true})
	return attached.Path, file, err
}

// growStaged completes a staging that ended between the mount and the growth of
// what was mounted, such as by the death of the driver.
func growStaged(device *loop.Device, target string, capability *csi.VolumeCapability) error {
	if readOnly(capability) {
		return nil
	}
	if err := device.Resize(); err != nil {
		return err
	}
	return xfs.Grow(target)
}

func mountAndGrow(device, target string, capability *csi.VolumeCapability) error {
	if err := os.MkdirAll(target, 0o750); err != nil {
		return err
	}
	options := append([]string{}, xfs.MountOptions...)
	options = append(options, capability.GetMount().GetMountFlags()...)
	if readOnly(capability) {
		return mount.Filesystem(device, target, xfs.Type, append(options, "ro"))
	}
	if err := mount.Filesystem(device, target, xfs.Type, options); err != nil {
		return err
	}
	// A volume restored into a larger one, or grown while no pod used it.
	if err := xfs.Grow(target); err != nil {
		return errors.Join(err, mount.Unmount(target))
	}
	return nil
}

// ensureFilesystem formats a volume that was never formatted, and no other. The
// order of record and mkfs makes a crash at any moment repairable: a volume that
// may have been mounted is always recorded as Formatted.
func (d *Driver) ensureFilesystem(volume volumes.Volume, device string) error {
	image := d.store.Image(volume.ID)
	switch volume.Format {
	case volumes.Formatted:
		return nil
	case volumes.Unformatted:
		blank, err := volumes.Blank(image)
		if err != nil {
			return err
		}
		if !blank {
			return d.adopt(volume)
		}
		if err := d.store.SetFormat(volume.ID, volumes.Formatting); err != nil {
			return err
		}
	}
	if err := xfs.Format(device, volume.Format == volumes.Formatting); err != nil {
		return err
	}
	return d.store.SetFormat(volume.ID, volumes.Formatted)
}

// adopt takes over an xfs that somebody else made (a restored Block volume), and
// refuses anything else: data is never formatted away.
func (d *Driver) adopt(volume volumes.Volume) error {
	found, err := xfs.Signature(d.store.Image(volume.ID))
	if err != nil {
		return err
	}
	switch found {
	case xfs.Type:
		return d.store.SetFormat(volume.ID, volumes.Formatted)
	case "":
		found = "unknown data"
	}
	return refused("volume %s holds %s, an empty or an %s volume was expected: it is left untouched; use it with volumeMode Block, or delete the claim if the data is not wanted",
		volume.ID, found, xfs.Type)
}

// NodeUnstageVolume unmounts and detaches a volume.
func (d *Driver) NodeUnstageVolume(_ context.Context, request *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	id, target := request.GetVolumeId(), request.GetStagingTargetPath()
	if err := need("volume_id", id, "staging_target_path", target); err != nil {
		return nil, err
	}
	release, err := d.busy.take(id)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := mount.Unmount(target); err != nil {
		return nil, failure(err)
	}
	volume, err := d.store.Volume(id)
	if errors.Is(err, volumes.ErrNotFound) {
		return &csi.NodeUnstageVolumeResponse{}, nil // deleted by an earlier attempt's success
	}
	if err != nil {
		return nil, failure(err)
	}
	return &csi.NodeUnstageVolumeResponse{}, failure(d.detach(volume))
}

// detach ends an attachment that the unmount didn't: that of a Block volume, or
// one that was not the driver's.
func (d *Driver) detach(volume volumes.Volume) error {
	device, attached, err := loop.Find(d.store.Image(volume.ID))
	if err != nil || !attached {
		return err
	}
	return errors.Join(device.Flush(), device.Detach())
}
