package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"hearth.dev/cluster/csi/internal/loop"
	"hearth.dev/cluster/csi/internal/mount"
	"hearth.dev/cluster/csi/internal/volumes"
)

// NodePublishVolume shows a staged volume to one pod: its folder, or for a Block
// volume the device node itself, bound to the target path.
func (d *Driver) NodePublishVolume(_ context.Context, request *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	id, target, capability := request.GetVolumeId(), request.GetTargetPath(), request.GetVolumeCapability()
	if err := need("volume_id", id, "target_path", target); err != nil {
		return nil, err
	}
	if _, err := capabilityMode(capability); err != nil {
		return nil, err
	}
	if err := need("staging_target_path", request.GetStagingTargetPath()); err != nil {
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
	source, err := d.staged(volume, request.GetStagingTargetPath())
	if err != nil {
		return nil, failure(err)
	}
	return &csi.NodePublishVolumeResponse{}, failure(publish(source, target, request.GetReadonly() || readOnly(capability)))
}

// staged gives what there is to bind: the staging folder or the device node.
func (d *Driver) staged(volume volumes.Volume, staging string) (string, error) {
	device, entries, err := d.mounts(volume.ID)
	if err != nil {
		return "", err
	}
	if device != nil && volume.Mode == volumes.Block {
		return device.Path, nil
	}
	if device != nil {
		here, mounted, err := mount.At(staging)
		if err != nil {
			return "", err
		}
		for _, entry := range entries {
			if mounted && entry.Device == here.Device {
				return staging, nil
			}
		}
	}
	return "", refused("volume %s is not staged at %s: NodeStageVolume comes first", volume.ID, staging)
}

func publish(source, target string, readOnly bool) error {
	there, mounted, err := mount.At(target)
	if err != nil {
		return err
	}
	if mounted {
		same, err := sameObject(source, target)
		if err != nil {
			return err
		}
		if !same || there.ReadOnly != readOnly {
			return fmt.Errorf("target %s %w", target, volumes.ErrIncompatible)
		}
		return nil
	}
	if err := makeTarget(source, target); err != nil {
		return err
	}
	return mount.Bind(source, target, readOnly)
}

func sameObject(a, b string) (bool, error) {
	first, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	second, err := os.Stat(b)
	if err != nil {
		return false, err
	}
	return os.SameFile(first, second), nil
}

// makeTarget makes what a bind mount needs to exist: a folder for a folder, an
// empty file for a device node.
func makeTarget(source, target string) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.MkdirAll(target, 0o750)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return err
	}
	file, err := os.OpenFile(target, os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("make the target file: %w", err)
	}
	return file.Close()
}

// NodeUnpublishVolume takes a volume away from one pod.
func (d *Driver) NodeUnpublishVolume(_ context.Context, request *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	id, target := request.GetVolumeId(), request.GetTargetPath()
	if err := need("volume_id", id, "target_path", target); err != nil {
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
	// Not RemoveAll: should the unmount not have been one, data lies below.
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, failure(err)
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// deviceAt says whether path shows the volume, and on which loop device it lies.
func (d *Driver) deviceAt(volume volumes.Volume, path string) (*loop.Device, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("volume %s at %s: %w", volume.ID, path, volumes.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	device, entries, err := d.mounts(volume.ID)
	if err != nil {
		return nil, err
	}
	if device == nil {
		return nil, fmt.Errorf("volume %s is not staged: %w", volume.ID, volumes.ErrNotFound)
	}
	if volume.Mode == volumes.Block {
		// The staging path of a Block volume is an empty folder.
		if same, err := sameObject(device.Path, path); err != nil || same || info.IsDir() {
			return device, err
		}
		return nil, fmt.Errorf("%s is not the device of volume %s: %w", path, volume.ID, volumes.ErrNotFound)
	}
	here, mounted, err := mount.At(path)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if mounted && entry.Device == here.Device {
			return device, nil
		}
	}
	return nil, fmt.Errorf("volume %s is not mounted at %s: %w", volume.ID, path, volumes.ErrNotFound)
}
