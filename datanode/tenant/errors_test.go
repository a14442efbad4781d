package tenant

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// halfFS does the first half of one write, when armed, and then fails.
type halfFS struct {
	vfs.FS
	armed bool
}

func (h *halfFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := h.FS.Create(name, c)
	if err != nil {
		return nil, err
	}
	return halfFile{f, h}, nil
}

type halfFile struct {
	vfs.File
	fs *halfFS
}

func (f halfFile) Write(b []byte) (int, error) {
	if !f.fs.armed {
		return f.File.Write(b)
	}
	f.fs.armed = false
	n, err := f.File.Write(b[:len(b)/2])
	return n, errors.Join(err, syscall.ENOSPC)
}

// TestFailedOperations fails each operation of the filesystem in turn, over installs and an opening, until there is no
// further one. An install that reports an error leaves the old view current, and what is on disk afterwards, also
// after a power cut, is the old view or the new one.
func TestFailedOperations(t *testing.T) {
	for _, half := range []bool{false, true} {
		k := 0
		for ; failViews(t, k, half) && !t.Failed(); k++ {
		}
		t.Logf("%d operations have failed (in writes only: %v)", k, half)
	}
}

func failViews(t *testing.T, k int, half bool) (happened bool) {
	mem := vfs.NewCrashableMem()
	halves := &halfFS{FS: mem}
	seen := 0
	fs := errorfs.Wrap(halves, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if half && op.Kind != errorfs.OpFileWrite {
			return nil
		}
		seen++
		if seen != k+1 {
			return nil
		}
		happened = true
		if half {
			halves.armed = true
			return nil
		}
		return syscall.EIO
	}))
	reported, tried := livesOfViews(t, fs)
	for _, percent := range []int{0, 50, 100} {
		rng := rand.New(rand.NewPCG(uint64(k), uint64(percent)))
		again, err := OpenViews(mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}), "")
		if err != nil {
			t.Fatalf("operation %d, %d %% kept: %v", k, percent, err)
		}
		revision := uint64(0)
		if v := again.Current(); v != nil {
			revision = v.Revision()
			if dump(v) != dump(viewAt(t, revision)) {
				t.Errorf("operation %d, %d %% kept: revision %d is another view", k, percent, revision)
			}
		}
		if revision < reported || revision > tried {
			t.Errorf("operation %d, %d %% kept: revision %d, %d was reported and %d tried", k, percent, revision, reported, tried)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
	return happened
}

// viewAt is the view that installs up to a revision make.
func viewAt(t *testing.T, revision uint64) *View {
	v := full(t, 10).View()
	for n := uint64(1); 10+n <= revision; n++ {
		var err error
		if v, err = v.apply(nth(t, n)); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

// livesOfViews installs views, and opens them again, until an error ends that. It returns the last revision that was
// reported, and the last that was tried.
func livesOfViews(t *testing.T, fs vfs.FS) (reported, tried uint64) {
	for life := range uint64(3) {
		s, err := OpenViews(fs, "")
		if errors.Is(err, ErrDamage) {
			t.Errorf("an error is taken for damage: %v", err)
		}
		if err != nil {
			return reported, tried
		}
		if v := s.Current(); life > 0 && (v == nil || v.Revision() != reported) {
			t.Errorf("opened: %v, want revision %d", v, reported)
		}
		for i := range uint64(4) {
			n := 4*life + i
			c := full(t, 10)
			if n > 0 {
				c = nth(t, n)
			}
			if i == 2 {
				s.logBytes = 1 << 40 // a new base
			}
			before := s.Current()
			tried = 10 + n
			if _, err := s.Install(c); err != nil {
				if s.Current() != before || s.Broken() == nil {
					t.Errorf("a failed install became current: %v", err)
				}
				if _, next := s.Install(c); next == nil || fmt.Sprint(next) != fmt.Sprint(s.Broken()) {
					t.Errorf("an install after a failed one: %v", next)
				}
				_ = s.Close()
				return reported, tried
			}
			reported = tried
		}
		if s.Close() != nil {
			return reported, tried
		}
	}
	return reported, tried
}
