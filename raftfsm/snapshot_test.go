package raftfsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
)

// allocated is what the process has allocated so far, in bytes. Small pieces count late.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func sample(t testing.TB) []byte {
	m := newCluster(t)
	m.do(register("n1"))
	id := m.propose(Proposal{Command: &CreateNamespace{Name: "a", Tokens: []NewToken{token("t1")}}, RequestID: "r1", Digest: DigestOf("r1")}).Result.NamespaceID
	m.do(&CreateNamespace{Name: "b"})
	m.do(&DeleteNamespace{ID: id})
	return dump(t, m.State())
}

// Raft writes a state while others read it, and write it too: under the race detector.
func TestSnapshotsOnlyRead(t *testing.T) {
	m := newCluster(t)
	if err := m.Restore(bytes.NewReader(sample(t))); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if err := m.State().WriteSnapshot(io.Discard); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestDamagedSnapshotsAreRefused(t *testing.T) {
	good := sample(t)
	m := newCluster(t)
	before := m.State()
	refuse := func(what string, data []byte, want error) {
		t.Helper()
		if err := m.Restore(bytes.NewReader(data)); !errors.Is(err, want) {
			t.Errorf("%s: %v", what, err)
		}
		if m.State() != before {
			t.Fatalf("%s: the state changed", what)
		}
	}
	for n := range len(good) {
		refuse(fmt.Sprintf("cut at %d", n), good[:n], ErrSnapshotCorrupt)
	}
	for i := range len(good) {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		want := ErrSnapshotCorrupt
		if i < len(snapshotMagic)+4 {
			want = ErrSnapshotFormat
		}
		refuse(fmt.Sprintf("flipped at %d", i), bad, want)
	}
	refuse("longer", append(bytes.Clone(good), 0), ErrSnapshotCorrupt)
	other := bytes.Clone(good)
	binary.LittleEndian.PutUint32(other[len(snapshotMagic):], snapshotFormat+1)
	refuse("another format", other, ErrSnapshotFormat)
	if err := m.Restore(bytes.NewReader(other)); !strings.Contains(err.Error(), "format 3, this version knows formats up to 2") {
		t.Errorf("another format: %v", err)
	}
	if err := m.Restore(bytes.NewReader(good)); err != nil {
		t.Fatal(err)
	}
}

func TestFeed(t *testing.T) {
	m := newCluster(t)
	changed := m.Feed().Changed()
	select {
	case <-changed:
		t.Fatal("changed before a change")
	default:
	}
	id := m.do(&CreateNamespace{Name: "a"}).NamespaceID
	<-changed
	m.refused(CodeExists, &CreateNamespace{Name: "a"})
	deltas, ok := m.Feed().Since(0)
	if !ok || len(deltas) != 2 || deltas[1].FromRevision != deltas[0].Revision || deltas[1].Revision != id {
		t.Fatalf("deltas %v, %v", deltas, ok)
	}
	if deltas, ok := m.Feed().Since(id); !ok || len(deltas) != 0 {
		t.Fatalf("deltas %v, %v", deltas, ok)
	}
	changed = m.Feed().Changed()
	snapshot := dump(t, m.State())
	if err := m.Restore(bytes.NewReader(snapshot)); err != nil {
		t.Fatal(err)
	}
	<-changed
	if _, ok := m.Feed().Since(id - 1); ok {
		t.Fatal("the feed reaches behind a restore")
	}
	if deltas, ok := m.Feed().Since(id); !ok || len(deltas) != 0 {
		t.Fatalf("deltas %v, %v", deltas, ok)
	}
}

func TestFeedIsBounded(t *testing.T) {
	m := newCluster(t)
	for i := range FeedDeltasMax {
		m.do(&CreateNamespace{Name: fmt.Sprintf("n%d", i)})
	}
	f := m.Feed()
	if len(f.deltas) != FeedDeltasMax {
		t.Fatalf("%d deltas", len(f.deltas))
	}
	if _, ok := f.Since(0); ok {
		t.Fatal("the oldest delta is still there")
	}
	f.mu.Lock()
	base := f.base
	f.mu.Unlock()
	if deltas, ok := f.Since(base); !ok || len(deltas) != FeedDeltasMax {
		t.Fatalf("%d deltas since the base, %v", len(deltas), ok)
	}
}

func FuzzCommand(f *testing.F) {
	m := newMachine(f)
	for _, e := range commandTable() {
		data, err := m.Encode(Proposal{Command: e.make(), RequestID: "r", TimeMs: -1, Actor: "a"})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	data, err := m.Encode(Proposal{Command: initCluster(), Digest: DigestOf("a")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		m := newCluster(t)
		p, err := m.Decode(data)
		if err != nil {
			return
		}
		again, err := m.Encode(p)
		if err == nil && !bytes.Equal(again, data) && older(data) { // an old version is written as the newest
			_, err = m.Decode(again)
		} else if err == nil && !bytes.Equal(again, data) {
			err = errors.New("another encoding")
		}
		if err != nil {
			t.Fatalf("%T: %x became %x: %v", p.Command, data, again, err)
		}
		if _, err := m.Apply(m.index+1, data); err != nil {
			t.Fatal(err)
		}
	})
}

// older reports whether a command that can be decoded is of another version than the one that is written.
func older(data []byte) bool {
	f := &fields{buf: data, reading: true}
	head := envelope{proposal: &Proposal{}}
	head.fields(f)
	return newCodec().byID[head.id].version != head.version
}

func FuzzSnapshot(f *testing.F) {
	f.Add(sample(f))
	empty := newMachine(f)
	f.Add(dump(f, empty.State()))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := newMachine(t)
		// With a right trailer, what is inside is looked at too.
		for _, data := range [][]byte{data, seal(data)} {
			before := allocated()
			err := m.Restore(bytes.NewReader(data))
			// Every record becomes a row in several indexes.
			if n := allocated() - before; n > uint64(1<<10*len(data)+8<<20) {
				t.Errorf("%d bytes were allocated for a snapshot of %d", n, len(data))
			}
			if err == nil {
				dump(t, m.State())
			}
		}
	})
}

// seal replaces the trailer of a snapshot by one that fits its records.
func seal(data []byte) []byte {
	const trailer = 1 + 8 + 4
	if len(data) < trailer {
		return data
	}
	var count uint64
	body := data[:len(data)-trailer]
	for at := len(snapshotMagic) + 4; at < len(body); count++ {
		n, size := binary.Uvarint(body[at+1:])
		if size <= 0 || n > uint64(len(body)) {
			break
		}
		at += 1 + size + int(n)
	}
	out := binary.LittleEndian.AppendUint64(append(bytes.Clone(body), recordEnd), count)
	return binary.LittleEndian.AppendUint32(out, crc32.Checksum(out, crc32.MakeTable(crc32.Castagnoli)))
}

func BenchmarkCreateNamespace(b *testing.B) {
	m := newCluster(b)
	i := 0
	for b.Loop() {
		m.propose(Proposal{Command: &CreateNamespace{Name: fmt.Sprintf("n%d", i), Tokens: []NewToken{token(fmt.Sprintf("t%d", i))}}, RequestID: fmt.Sprintf("r%d", i)})
		i++
	}
}

func BenchmarkSnapshot100k(b *testing.B) {
	m := newCluster(b)
	for i := range 100_000 {
		m.propose(Proposal{Command: &CreateNamespace{Name: fmt.Sprintf("n%d", i), Tokens: []NewToken{token(fmt.Sprintf("t%d", i))}}, RequestID: fmt.Sprintf("r%d", i)})
	}
	data := dump(b, m.State())
	b.Run("write", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			dump(b, m.State())
		}
	})
	b.Run("restore", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			f, err := New()
			if err == nil {
				err = f.Restore(bytes.NewReader(data))
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Every released format stays readable, and this version still writes its own as it did. The file is
// made by hand from sample's bytes, once per format.
func TestGoldenSnapshot(t *testing.T) {
	var golden []byte
	for _, name := range []string{"testdata/snapshot-1", "testdata/snapshot-2"} {
		var err error
		if golden, err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
		m := newMachine(t)
		if err := m.Restore(bytes.NewReader(golden)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n := m.State().NamespaceByName("b"); n == nil || m.State().Node("n1") == nil || m.State().Group(GroupID).Primary != "n1" {
			t.Fatalf("the content of %s", name)
		}
	}
	if !bytes.Equal(golden, sample(t)) {
		t.Fatal("this version writes the same state differently")
	}
}
