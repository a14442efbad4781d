package tenant

import (
	"runtime/metrics"
	"testing"

	"github.com/atolldb/atoll/rpc/atollpb"
	"google.golang.org/protobuf/proto"
)

// allocated is what the process has allocated so far, in bytes. Small pieces count late.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// A record of a few bytes becomes a struct, an entry in several indexes, and a name in both; what a view weighs
// when it is empty comes on top.
const (
	bytesPerByte = 1 << 10
	bytesAtLeast = 4 << 20
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
		before := allocated()
		defer func() {
			if n, in := allocated()-before, len(base)+len(log); n > uint64(bytesPerByte*in+bytesAtLeast) {
				t.Errorf("%d bytes were allocated for %d", n, in)
			}
		}()
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

// FuzzFrames takes a stream of frames as they come from the network, each behind its length in two bytes: a view never
// goes back, and can be sent on whole.
func FuzzFrames(f *testing.F) {
	start := change(f, &atollpb.ViewFrame{Full: true, Last: true, Revision: 10, Cluster: info(), Namespaces: []*atollpb.Namespace{ns(1, "x")}}).View()
	stream := func(frames ...*atollpb.ViewFrame) (b []byte) {
		for _, fr := range frames {
			raw, err := proto.Marshal(fr)
			if err != nil {
				f.Fatal(err)
			}
			b = append(append(b, byte(len(raw)>>8), byte(len(raw))), raw...)
		}
		return b
	}
	one := &atollpb.ViewFrame{FromRevision: 10, Revision: 11, Last: true, Namespaces: []*atollpb.Namespace{ns(2, "y")}, RemovedTokens: []string{"t"}}
	f.Add(stream(one))
	f.Add(stream(one, &atollpb.ViewFrame{Heartbeat: true}, &atollpb.ViewFrame{FromRevision: 11, Revision: 12, Last: true, RemovedNamespaces: []uint64{2}}))
	f.Add(stream(&atollpb.ViewFrame{Full: true, Revision: 20, Cluster: info()}, &atollpb.ViewFrame{Revision: 20, Last: true, Namespaces: []*atollpb.Namespace{ns(2, "x")}}))
	f.Add(stream(&atollpb.ViewFrame{Revision: 11}, one))
	f.Add([]byte{0, 9, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		before, in := allocated(), len(b)
		v := start
		var a Assembler
		for len(b) >= 2 {
			n := min(int(b[0])<<8|int(b[1]), len(b)-2)
			fr := new(atollpb.ViewFrame)
			if proto.Unmarshal(b[2:2+n], fr) != nil {
				break
			}
			b = b[2+n:]
			c, err := a.Add(fr)
			if err != nil || c == nil {
				continue
			}
			next, err := v.apply(c)
			if err != nil {
				continue
			}
			if next.Revision() < v.Revision() {
				t.Fatalf("revision %d follows %d", next.Revision(), v.Revision())
			}
			v = next
		}
		if n := allocated() - before; n > uint64(bytesPerByte*in+bytesAtLeast) {
			t.Errorf("%d bytes were allocated for %d", n, in)
		}
		var again Assembler
		for fr := range v.Full().Frames() {
			c, err := again.Add(fr)
			if err != nil {
				t.Fatal(err)
			}
			if c != nil && (c.View().Revision() != v.Revision() || c.View().Len() != v.Len()) {
				t.Errorf("sent on, the view of revision %d with %d namespaces became %d with %d", v.Revision(), v.Len(), c.View().Revision(), c.View().Len())
			}
		}
	})
}
