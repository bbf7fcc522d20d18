package driver

import (
	"context"
	"errors"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"hearth.dev/cluster/csi/internal/mount"
	"hearth.dev/cluster/csi/internal/volumes"
)

// CreateSnapshot copies a volume as it is at one moment. The copy is complete,
// and the snapshot ready, when this returns.
func (d *Driver) CreateSnapshot(_ context.Context, request *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	name, source := request.GetName(), request.GetSourceVolumeId()
	if err := need("name", name, "source_volume_id", source); err != nil {
		return nil, err
	}
	if err := noParameters(request.GetParameters()); err != nil {
		return nil, err
	}
	release, err := d.busy.take(volumes.SnapshotID(name), source)
	if err != nil {
		return nil, err
	}
	defer release()
	snapshot, err := d.store.ExistingSnapshot(name, source)
	if errors.Is(err, volumes.ErrNotFound) {
		snapshot, err = d.snapshot(name, source)
	}
	if err != nil {
		return nil, failure(err)
	}
	return &csi.CreateSnapshotResponse{Snapshot: describeSnapshot(snapshot)}, nil
}

func (d *Driver) snapshot(name, source string) (volumes.Snapshot, error) {
	volume, err := d.store.Volume(source)
	if err != nil {
		return volumes.Snapshot{}, err
	}
	var taken volumes.Snapshot
	err = d.whileStill(volume, func() error {
		taken, err = d.store.CreateSnapshot(name, source)
		return err
	})
	return taken, err
}

// whileStill runs work, which copies the volume, at a moment when the image
// holds all that pods have written and nothing changes.
//
// A mounted file system is frozen for it. A raw device can't be: there, only a
// copy that is itself one moment (reflink) is consistent, and where the disk has
// none, the copy is refused while the volume is in use rather than torn.
func (d *Driver) whileStill(volume volumes.Volume, work func() error) (err error) {
	device, entries, err := d.mounts(volume.ID)
	if err != nil {
		return err
	}
	if device == nil {
		return work()
	}
	if volume.Mode == volumes.Block {
		if !d.store.Reflinks() {
			return refused("Block volume %s is in use and the disk below can't copy it in one moment (no reflinks): stop the pod, or put the state folder on xfs or btrfs", volume.ID)
		}
		if err := device.Flush(); err != nil {
			return err
		}
		return work()
	}
	if len(entries) == 0 {
		return refused("volume %s is attached as %s but mounted nowhere that the driver sees, so it can't be frozen", volume.ID, device.Path)
	}
	thaw, err := mount.Freeze(entries[0].Target)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, thaw()) }()
	return work()
}

// DeleteSnapshot removes a snapshot; volumes restored from it are copies and stay.
func (d *Driver) DeleteSnapshot(_ context.Context, request *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	id := request.GetSnapshotId()
	if err := need("snapshot_id", id); err != nil {
		return nil, err
	}
	release, err := d.busy.take(id)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := d.store.DeleteSnapshot(id); err != nil && !errors.Is(err, volumes.ErrNotFound) {
		return nil, failure(err)
	}
	return &csi.DeleteSnapshotResponse{}, nil
}
