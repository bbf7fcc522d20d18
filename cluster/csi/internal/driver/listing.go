package driver

import (
	"context"
	"errors"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"hearth.dev/cluster/csi/internal/volumes"
)

// page cuts the records that follow the token. The token is the ID of the last
// record of the page before: it stays good when records come and go in between.
func page[Record any](records []Record, id func(Record) string, token string, most int32) (cut []Record, next string, err error) {
	if most < 0 {
		return nil, "", invalid("max_entries is %d: it must not be negative", most)
	}
	start := 0
	for start < len(records) && id(records[start]) <= token {
		start++
	}
	records = records[start:]
	if most == 0 || len(records) <= int(most) {
		return records, "", nil
	}
	return records[:most], id(records[most-1]), nil
}

func badToken(token string, shaped func(string) bool) error {
	if token == "" || shaped(token) {
		return nil
	}
	return status.Errorf(codes.Aborted, "starting_token %q was not given out by this driver: list again from the start", token)
}

// ListVolumes lists volumes in the order of their IDs.
func (d *Driver) ListVolumes(_ context.Context, request *csi.ListVolumesRequest) (*csi.ListVolumesResponse, error) {
	if err := badToken(request.GetStartingToken(), volumes.IsVolumeID); err != nil {
		return nil, err
	}
	all, err := d.store.Volumes()
	if err != nil {
		return nil, failure(err)
	}
	cut, next, err := page(all, func(v volumes.Volume) string { return v.ID }, request.GetStartingToken(), request.GetMaxEntries())
	if err != nil {
		return nil, err
	}
	response := &csi.ListVolumesResponse{NextToken: next}
	for _, volume := range cut {
		response.Entries = append(response.Entries, &csi.ListVolumesResponse_Entry{Volume: d.describe(volume)})
	}
	return response, nil
}

// ListSnapshots lists snapshots in the order of their IDs, of one volume if asked so.
func (d *Driver) ListSnapshots(_ context.Context, request *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	if err := badToken(request.GetStartingToken(), volumes.IsSnapshotID); err != nil {
		return nil, err
	}
	all, err := d.snapshots(request.GetSnapshotId())
	if err != nil {
		return nil, failure(err)
	}
	chosen := all[:0]
	for _, snapshot := range all {
		if source := request.GetSourceVolumeId(); source == "" || source == snapshot.SourceVolumeID {
			chosen = append(chosen, snapshot)
		}
	}
	cut, next, err := page(chosen, func(s volumes.Snapshot) string { return s.ID }, request.GetStartingToken(), request.GetMaxEntries())
	if err != nil {
		return nil, err
	}
	response := &csi.ListSnapshotsResponse{NextToken: next}
	for _, snapshot := range cut {
		response.Entries = append(response.Entries, &csi.ListSnapshotsResponse_Entry{Snapshot: describeSnapshot(snapshot)})
	}
	return response, nil
}

// snapshots gives the one of that ID (none, if there is none), or all for an empty ID.
func (d *Driver) snapshots(id string) ([]volumes.Snapshot, error) {
	if id == "" {
		return d.store.Snapshots()
	}
	snapshot, err := d.store.Snapshot(id)
	if errors.Is(err, volumes.ErrNotFound) {
		return nil, nil
	}
	return []volumes.Snapshot{snapshot}, err
}

func (d *Driver) describe(volume volumes.Volume) *csi.Volume {
	described := &csi.Volume{VolumeId: volume.ID, CapacityBytes: volume.CapacityBytes, AccessibleTopology: d.topology()}
	if source := volume.Source; source != nil && source.Kind == volumes.FromSnapshot {
		described.ContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: source.ID},
		}}
	} else if source != nil {
		described.ContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
			Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: source.ID},
		}}
	}
	return described
}

func describeSnapshot(snapshot volumes.Snapshot) *csi.Snapshot {
	return &csi.Snapshot{
		SnapshotId: snapshot.ID, SourceVolumeId: snapshot.SourceVolumeID, SizeBytes: snapshot.SizeBytes,
		CreationTime: timestamppb.New(snapshot.CreatedAt), ReadyToUse: true,
	}
}
