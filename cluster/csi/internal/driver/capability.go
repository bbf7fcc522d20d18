package driver

import (
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"hearth.dev/cluster/csi/internal/volumes"
	"hearth.dev/cluster/csi/internal/xfs"
)

// A volume's image lies on one node's disk; its access modes are those of one node.
var accessModes = []csi.VolumeCapability_AccessMode_Mode{
	csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER,
	csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY,
	csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER,
	csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER,
}

// modeOf finds the one volume mode that all capabilities ask for.
func modeOf(capabilities []*csi.VolumeCapability) (volumes.Mode, error) {
	if len(capabilities) == 0 {
		return "", invalid("volume_capabilities is missing in the request")
	}
	var mode volumes.Mode
	for _, capability := range capabilities {
		one, err := capabilityMode(capability)
		if err != nil {
			return "", err
		}
		if mode != "" && mode != one {
			return "", invalid("a volume is either Filesystem or Block: both were asked")
		}
		mode = one
	}
	return mode, nil
}

func capabilityMode(capability *csi.VolumeCapability) (volumes.Mode, error) {
	if capability == nil {
		return "", invalid("volume_capability is missing in the request")
	}
	if access := capability.GetAccessMode().GetMode(); !slices.Contains(accessModes, access) {
		return "", invalid("access mode %s is not possible: the volume lies on one node; use ReadWriteOnce or ReadWriteOncePod", access)
	}
	if capability.GetBlock() != nil {
		return volumes.Block, nil
	}
	if capability.GetMount() == nil {
		return "", invalid("the volume capability has neither mount nor block")
	}
	if kind := capability.GetMount().GetFsType(); kind != "" && kind != xfs.Type {
		return "", invalid("file system %q was asked, volumes of this driver are %s: set csi.storage.k8s.io/fstype: %s in the StorageClass", kind, xfs.Type, xfs.Type)
	}
	return volumes.Filesystem, nil
}

// requireMode checks that a volume is used the way it was made.
func requireMode(volume volumes.Volume, capability *csi.VolumeCapability) error {
	mode, err := capabilityMode(capability)
	if err != nil {
		return err
	}
	if mode != volume.Mode {
		return invalid("volume %s is a %s volume and can't be used as %s", volume.ID, volume.Mode, mode)
	}
	return nil
}

func readOnly(capability *csi.VolumeCapability) bool {
	return capability.GetAccessMode().GetMode() == csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY
}

// noParameters refuses parameters that nothing would read: a misspelt one would
// otherwise be ignored in silence. Those with the sidecars' prefix are theirs.
func noParameters(parameters map[string]string) error {
	for name := range parameters {
		if !strings.HasPrefix(name, "csi.storage.k8s.io/") {
			return invalid("parameter %q is unknown: this driver has no parameters", name)
		}
	}
	return nil
}
