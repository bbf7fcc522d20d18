package driver_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"google.golang.org/grpc"

	"hearth.dev/cluster/csi/internal/driver"
)

// The conformance suite of the Kubernetes CSI project, over the driver's real
// socket, once with file systems and once with raw devices.
func TestTheDriverPassesTheSanitySuite(t *testing.T) {
	rig := newRig(t)
	socket := filepath.Join(rig.dir, "csi.sock")
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- driver.Serve(ctx, rig.Driver, socket, filepath.Join(rig.dir, "registry")) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	gomega.RegisterFailHandler(ginkgo.Fail)
	var contexts []*sanity.TestContext
	for _, access := range []string{"mount", "block"} {
		config := sanity.NewTestConfig()
		// The scheme keeps the suite from adding a dialer of its own.
		config.Address = "passthrough:///" + socket
		config.DialOptions = append(config.DialOptions, grpc.WithContextDialer(dialSlowly))
		config.TargetPath = filepath.Join(rig.dir, access+"-target")
		config.StagingPath = filepath.Join(rig.dir, access+"-staging")
		config.TestVolumeAccessType = access
		config.TestVolumeSize = 1 << 30
		config.TestVolumeExpandSize = 2 << 30
		config.IdempotentCount = 3
		ginkgo.Describe(access, func() { contexts = append(contexts, sanity.GinkgoTest(&config)) })
	}
	suite, reporter := ginkgo.GinkgoConfiguration()
	suite.Timeout = 10 * time.Minute
	if !ginkgo.RunSpecs(t, "CSI sanity", suite, reporter) {
		t.Error("the sanity suite failed")
	}
	for _, context := range contexts {
		context.Finalize()
	}
}

// dialSlowly gives the suite's Connect (csi-test v5.3.1, utils/grpcutil.go) time
// to see the connection in the making: if it is ready between the two looks that
// Connect takes, it waits a minute for a change that never comes, and fails.
func dialSlowly(ctx context.Context, socket string) (net.Conn, error) {
	time.Sleep(250 * time.Millisecond)
	return (&net.Dialer{}).DialContext(ctx, "unix", socket)
}
