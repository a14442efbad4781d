package tenant

import (
	"testing"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// FuzzLoad reads files of any content: a view, or an error, never a panic.
func FuzzLoad(f *testing.F) {
	c := change(f, &atollpb.ViewFrame{Full: true, Last: true, Revision: 10, Cluster: info(), Namespaces: []*atollpb.Namespace{ns(1, "x")}})
	base, err := appendRecord(appendHeader(nil, baseMagic), c.Frames())
	if err != nil {
		f.Fatal(err)
	}
	log, err := appendRecord(appendHeader(nil, logMagic), nth(f, 1).Frames())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(base, log)
	f.Add(base[:len(base)-1], log[:len(log)-1])
	f.Add(base[:headerBytes], []byte{})
	f.Fuzz(func(t *testing.T, base, log []byte) {
		v, err := decodeBase(base)
		if err == nil && v == nil {
			t.Error("neither a view nor an error")
		}
		if v == nil {
			v = c.View()
		}
		after, err := replay(v, log)
		if err == nil && after.Revision() < v.Revision() {
			t.Errorf("the log took revision %d to %d", v.Revision(), after.Revision())
		}
	})
}
