package watch

import (
	"iter"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// frameBytesMax bounds an encoded frame; frameSlack of it is for what is not records. One record is far
// smaller than a frame: the state machine bounds its strings and lists.
const (
	frameBytesMax = 1 << 20
	frameSlack    = 4 << 10
	recordSlack   = 8 // tag and length of one record
)

// record is one thing that a frame carries: how to put it there, and its encoded size.
type record struct {
	put  func(*atollpb.ViewFrame)
	size int
}

type records = iter.Seq[record]

func messageRecord[M proto.Message](m M, list func(*atollpb.ViewFrame) *[]M) record {
	return record{func(f *atollpb.ViewFrame) { l := list(f); *l = append(*l, m) }, proto.Size(m)}
}

func namespaceList(f *atollpb.ViewFrame) *[]*atollpb.Namespace { return &f.Namespaces }
func tokenList(f *atollpb.ViewFrame) *[]*atollpb.Token         { return &f.Tokens }
func nodeList(f *atollpb.ViewFrame) *[]*atollpb.Node           { return &f.Nodes }
func groupList(f *atollpb.ViewFrame) *[]*atollpb.Group         { return &f.Groups }

// stateRecords walks a whole state, tombstones included.
func stateRecords(s *raftfsm.State) records {
	return func(yield func(record) bool) {
		c := s.Cluster()
		if !yield(record{func(f *atollpb.ViewFrame) { f.Cluster = c }, proto.Size(c)}) {
			return
		}
		_ = each(yield, s.AllNamespaces(), namespaceList) && each(yield, s.AllTokens(), tokenList) &&
			each(yield, s.Nodes(), nodeList) && each(yield, s.Groups(), groupList)
	}
}

func each[M proto.Message](yield func(record) bool, seq iter.Seq[M], list func(*atollpb.ViewFrame) *[]M) bool {
	for m := range seq {
		if !yield(messageRecord(m, list)) {
			return false
		}
	}
	return true
}

// deltaRecords walks a merged delta.
func deltaRecords(d *atollpb.ViewFrame) records {
	return func(yield func(record) bool) {
		if d.Cluster != nil && !yield(record{func(f *atollpb.ViewFrame) { f.Cluster = d.Cluster }, proto.Size(d.Cluster)}) {
			return
		}
		for _, id := range d.RemovedTokens {
			if !yield(record{func(f *atollpb.ViewFrame) { f.RemovedTokens = append(f.RemovedTokens, id) }, len(id)}) {
				return
			}
		}
		for _, id := range d.RemovedNodes {
			if !yield(record{func(f *atollpb.ViewFrame) { f.RemovedNodes = append(f.RemovedNodes, id) }, len(id)}) {
				return
			}
		}
		for _, id := range d.RemovedNamespaces {
			if !yield(record{func(f *atollpb.ViewFrame) { f.RemovedNamespaces = append(f.RemovedNamespaces, id) }, 10}) {
				return
			}
		}
		_ = eachOf(yield, d.Namespaces, namespaceList) && eachOf(yield, d.Tokens, tokenList) &&
			eachOf(yield, d.Nodes, nodeList) && eachOf(yield, d.Groups, groupList)
	}
}

func eachOf[M proto.Message](yield func(record) bool, list []M, of func(*atollpb.ViewFrame) *[]M) bool {
	for _, m := range list {
		if !yield(messageRecord(m, of)) {
			return false
		}
	}
	return true
}

// framer cuts records into frames. It sends a frame when the next record no longer fits.
type framer struct {
	send           func(*atollpb.ViewFrame) error
	from, revision uint64
	full           bool // until the first frame is made
	frame          *atollpb.ViewFrame
	size           int
}

func (f *framer) open() {
	f.frame = &atollpb.ViewFrame{Full: f.full, FromRevision: f.from, Revision: f.revision}
	f.full, f.size = false, frameSlack
}

func (f *framer) add(r record) error {
	if f.frame != nil && f.size+r.size+recordSlack > frameBytesMax {
		if err := f.send(f.frame); err != nil {
			return err
		}
		f.frame = nil
	}
	if f.frame == nil {
		f.open()
	}
	r.put(f.frame)
	f.size += r.size + recordSlack
	return nil
}

func (f *framer) end() error {
	if f.frame == nil {
		f.open()
	}
	f.frame.Last = true
	return f.send(f.frame)
}

// merge makes one delta of several that follow each other; of each record only its last change remains.
func merge(from uint64, deltas []*atollpb.ViewFrame) *atollpb.ViewFrame {
	if len(deltas) == 1 {
		return deltas[0]
	}
	out := &atollpb.ViewFrame{FromRevision: from, Revision: deltas[len(deltas)-1].Revision}
	namespaces := newMerged[uint64, *atollpb.Namespace]()
	tokens := newMerged[string, *atollpb.Token]()
	nodes := newMerged[string, *atollpb.Node]()
	groups := newMerged[uint32, *atollpb.Group]()
	for _, d := range deltas {
		if d.Cluster != nil {
			out.Cluster = d.Cluster
		}
		namespaces.apply(d.RemovedNamespaces, d.Namespaces, (*atollpb.Namespace).GetId)
		tokens.apply(d.RemovedTokens, d.Tokens, (*atollpb.Token).GetId)
		nodes.apply(d.RemovedNodes, d.Nodes, (*atollpb.Node).GetId)
		groups.apply(nil, d.Groups, (*atollpb.Group).GetId)
	}
	out.RemovedNamespaces, out.Namespaces = namespaces.lists()
	out.RemovedTokens, out.Tokens = tokens.lists()
	out.RemovedNodes, out.Nodes = nodes.lists()
	_, out.Groups = groups.lists()
	return out
}

// merged holds the last change of each record, in the order of first changes.
type merged[K comparable, M any] struct {
	order []K
	last  map[K]change[M]
}

type change[M any] struct {
	record  M
	removed bool
}

func newMerged[K comparable, M any]() *merged[K, M] {
	return &merged[K, M]{last: map[K]change[M]{}}
}

// apply adds one delta. Within one, no id is both removed and put.
func (m *merged[K, M]) apply(removed []K, put []M, id func(M) K) {
	for _, k := range removed {
		m.set(k, change[M]{removed: true})
	}
	for _, record := range put {
		m.set(id(record), change[M]{record: record})
	}
}

func (m *merged[K, M]) set(k K, c change[M]) {
	if _, ok := m.last[k]; !ok {
		m.order = append(m.order, k)
	}
	m.last[k] = c
}

func (m *merged[K, M]) lists() (removed []K, put []M) {
	for _, k := range m.order {
		if c := m.last[k]; c.removed {
			removed = append(removed, k)
		} else {
			put = append(put, c.record)
		}
	}
	return removed, put
}
