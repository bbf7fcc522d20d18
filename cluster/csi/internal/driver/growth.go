package driver

import (
	"cmp"
	"context"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"hearth.dev/cluster/csi/internal/volumes"
	"hearth.dev/cluster/csi/internal/xfs"
)

// NodeExpandVolume makes the device, and the file system on it, as large as
// ControllerExpandVolume has made the image, while pods go on using them.
func (d *Driver) NodeExpandVolume(_ context.Context, request *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	id, path := request.GetVolumeId(), request.GetVolumePath()
	if err := need("volume_id", id, "volume_path", path); err != nil {
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
	size := sizeRange(request.GetCapacityRange())
	if size.Required > volume.CapacityBytes || (size.Limit > 0 && size.Limit < volume.CapacityBytes) {
		return nil, failure(fmt.Errorf("%w: volume %s has %d bytes, which does not lie within %d to %d: ControllerExpandVolume comes first",
			volumes.ErrOutOfRange, id, volume.CapacityBytes, size.Required, size.Limit))
	}
	device, err := d.deviceAt(volume, path)
	if err != nil {
		return nil, failure(err)
	}
	if err := device.Resize(); err != nil {
		return nil, failure(err)
	}
	if volume.Mode == volumes.Filesystem {
		// The path a pod sees may be read-only, the staging path is not.
		mountPoint := cmp.Or(request.GetStagingTargetPath(), path)
		if err := xfs.Grow(mountPoint); err != nil {
			return nil, failure(err)
		}
	}
	return &csi.NodeExpandVolumeResponse{CapacityBytes: volume.CapacityBytes}, nil
}

// NodeGetVolumeStats says how full a volume is.
func (d *Driver) NodeGetVolumeStats(_ context.Context, request *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	id, path := request.GetVolumeId(), request.GetVolumePath()
	if err := need("volume_id", id, "volume_path", path); err != nil {
		return nil, err
	}
	volume, err := d.store.Volume(id)
	if err != nil {
		return nil, failure(err)
	}
	device, err := d.deviceAt(volume, path)
	if err != nil {
		return nil, failure(err)
	}
	if volume.Mode == volumes.Block {
		size, err := device.Size()
		if err != nil {
			return nil, failure(err)
		}
		return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{{Unit: csi.VolumeUsage_BYTES, Total: size}}}, nil
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		return nil, failure(err)
	}
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{
		{
			Unit: csi.VolumeUsage_BYTES, Total: int64(stat.Blocks) * stat.Bsize,
			Available: int64(stat.Bavail) * stat.Bsize, Used: int64(stat.Blocks-stat.Bfree) * stat.Bsize,
		},
		{
			Unit: csi.VolumeUsage_INODES, Total: int64(stat.Files),
			Available: int64(stat.Ffree), Used: int64(stat.Files - stat.Ffree),
		},
	}}, nil
}
