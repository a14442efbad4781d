package tenant

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/cockroachdb/pebble/v2/vfs"
)

func open(t testing.TB, fs vfs.FS) *Views {
	t.Helper()
	s, err := OpenViews(fs, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func install(t testing.TB, s *Views, changes ...*Change) {
	t.Helper()
	if _, err := s.Install(changes...); err != nil {
		t.Fatal(err)
	}
}

// nth is delta number n after a full view at 10: it makes namespace 100+n with a token.
func nth(t testing.TB, n uint64) *Change {
	id := 100 + n
	return delta(t, 10+n-1, 10+n, &atollpb.ViewFrame{
		Namespaces: []*atollpb.Namespace{ns(id, fmt.Sprintf("n%d", id))}, Tokens: []*atollpb.Token{tok(fmt.Sprintf("t%d", id), id, fmt.Sprintf("s%d", id))},
	})
}

func TestInstallNeverGoesBack(t *testing.T) {
	s := open(t, vfs.NewMem())
	if s.Current() != nil {
		t.Fatal("a view out of nothing")
	}
	if _, err := s.Install(nth(t, 1)); !errors.Is(err, ErrGap) {
		t.Errorf("a delta on nothing: %v", err)
	}
	changed := s.Changed()
	install(t, s, full(t, 10))
	<-changed
	install(t, s, nth(t, 1), nth(t, 2))
	newest := s.Current()
	install(t, s, full(t, 9), full(t, 12), nth(t, 1))
	if s.Current() != newest {
		t.Errorf("an older change was installed: revision %d", s.Current().Revision())
	}
	if _, err := s.Install(nth(t, 4)); !errors.Is(err, ErrGap) {
		t.Errorf("a gap: %v", err)
	}
	other := change(t, &atollpb.ViewFrame{Full: true, Last: true, Revision: 99, Cluster: &atollpb.ClusterInfo{ClusterId: "other"}})
	if _, err := s.Install(other); !errors.Is(err, ErrOtherCluster) {
		t.Errorf("another cluster: %v", err)
	}
	if s.Current() != newest {
		t.Error("a refused change was installed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := s.Wait(ctx, 13); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait for the future: %v", err)
	}
	if v, err := s.Wait(t.Context(), 12); err != nil || v != newest {
		t.Errorf("wait for the present: %v", err)
	}
}

func TestSince(t *testing.T) {
	s := open(t, vfs.NewMem())
	install(t, s, full(t, 10))
	for n := range uint64(5) {
		install(t, s, nth(t, n+1))
	}
	for have, want := range map[uint64]int{15: 0, 16: 0, 14: 1, 10: 5, 12: 3, 9: 1, 0: 1} {
		got := s.Since(have)
		if len(got) != want {
			t.Errorf("since %d: %d changes, want %d", have, len(got), want)
			continue
		}
		if want == 0 {
			continue
		}
		if isFull := got[0].Full; isFull != (have < 10) {
			t.Errorf("since %d: full %v", have, isFull)
		}
		v := s.Current()
		if have >= 10 {
			v = full(t, 10).View()
			for n := uint64(1); n <= have-10; n++ {
				v, _ = v.apply(nth(t, n))
			}
		}
		for _, c := range got {
			var err error
			if v, err = v.apply(c); err != nil {
				t.Fatalf("since %d: %v", have, err)
			}
		}
		if dump(v) != dump(s.Current()) {
			t.Errorf("since %d makes another view", have)
		}
	}
}

// TestViewSurvivesACrash cuts the power after every install: the view that was reported is there again.
func TestViewSurvivesACrash(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 30 {
		mem := vfs.NewCrashableMem()
		s := open(t, mem)
		install(t, s, full(t, 10))
		for n := range uint64(1 + rng.IntN(20)) {
			if rng.IntN(4) == 0 {
				clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
				if again := open(t, clone); dump(again.Current()) != dump(s.Current()) {
					t.Fatalf("round %d: revision %d after the crash, %d before", round, again.Current().Revision(), s.Current().Revision())
				}
				if rng.IntN(2) == 0 {
					mem, s = clone, open(t, clone)
				}
			}
			if rng.IntN(10) == 0 {
				s.logBytes = 1 << 40 // rewrite
			}
			install(t, s, nth(t, n+1))
		}
	}
}

func TestDamageIsFound(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem)
	install(t, s, full(t, 10))
	var ends []int
	for n := range uint64(3) {
		install(t, s, nth(t, n+1))
		ends = append(ends, int(s.logBytes))
	}
	want := s.Current()
	base, log := read(t, mem, baseName), read(t, mem, logName)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range log { // a flipped bit: damage, or in the last record a torn end
		revision, err := reopen(t, base, flip(log, i))
		switch {
		case i < headerBytes:
			if err == nil {
				t.Errorf("log byte %d: a damaged header is read", i)
			}
		case i < ends[1]:
			if !errors.Is(err, ErrDamage) {
				t.Errorf("log byte %d: %v", i, err)
			}
		case err != nil || revision != want.Revision()-1:
			t.Errorf("log byte %d: revision %d, %v", i, revision, err)
		}
	}
	for i := range base {
		if _, err := reopen(t, flip(base, i), log); err == nil {
			t.Errorf("base byte %d: damage is read", i)
		}
	}
	for n := range len(log) - headerBytes { // torn anywhere
		torn := log[:headerBytes+n]
		revision, err := reopen(t, base, torn)
		whole := uint64(0)
		for whole < 3 && ends[whole] <= len(torn) {
			whole++
		}
		if err != nil || revision != 10+whole {
			t.Errorf("torn at %d: revision %d, %v, want %d", len(torn), revision, err, 10+whole)
		}
	}
	other := append([]byte(nil), base...)
	binary.LittleEndian.PutUint32(other[8:], 2)
	binary.LittleEndian.PutUint32(other[12:], crc32.Checksum(other[:12], castagnoli))
	if _, err := reopen(t, other, log); !errors.Is(err, ErrFormat) {
		t.Errorf("another format: %v", err)
	}
}

func flip(b []byte, i int) []byte {
	c := append([]byte(nil), b...)
	c[i] ^= 0x10
	return c
}

func read(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	b, err := readFile(fs, name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// reopen opens views on files of that content.
func reopen(t *testing.T, base, log []byte) (uint64, error) {
	t.Helper()
	mem := vfs.NewMem()
	for name, b := range map[string][]byte{baseName: base, logName: log} {
		f, err := mem.Create(name, diskCategory)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(slices.Clone(b)); err != nil { // Write may change what it is given
			t.Fatal(err)
		}
		_ = f.Close()
	}
	s, err := OpenViews(mem, "")
	if err != nil {
		return 0, err
	}
	defer s.Close()
	return s.Current().Revision(), nil
}

func BenchmarkRestart(b *testing.B) {
	mem := vfs.NewMem()
	s := open(b, mem)
	install(b, s, large(b, 100_000).Full())
	b.ReportAllocs()
	for b.Loop() {
		v, _, err := load(mem, "")
		if err != nil || v.Len() != 100_000 {
			b.Fatal(err)
		}
	}
}
