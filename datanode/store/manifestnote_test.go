package store

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// noteDisk returns a filesystem with an empty store's directory.
func noteDisk(t *testing.T) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewMem()
	if err := fs.MkdirAll("data/pebble", 0o755); err != nil {
		t.Fatal(err)
	}
	return fs
}

func notesOf(t *testing.T, fs vfs.FS) *manifestNotes {
	t.Helper()
	n, err := readManifestNotes(fs, "data")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// changeNotes changes the bytes of the file.
func changeNotes(t *testing.T, fs vfs.FS, change func([]byte)) {
	t.Helper()
	f, err := fs.OpenReadWrite("data/"+manifestNoteFile, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, manifestNoteSector+manifestNoteBytes)
	_, err = f.ReadAt(b, 0)
	if err == nil {
		change(b)
		_, err = f.WriteAt(b, 0)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestManifestNoteSlots: the note of the MANIFEST in use outlives those of another that was never named, over
// restarts, and a torn slot.
func TestManifestNoteSlots(t *testing.T) {
	fs := noteDisk(t)
	n := notesOf(t, fs)
	add := func(number, size uint64) {
		t.Helper()
		if err := n.add(number, size); err != nil {
			t.Fatal(err)
		}
	}
	want := func(number, size uint64) {
		t.Helper()
		n = notesOf(t, fs)
		if got := n.size(number); got != size {
			t.Fatalf("MANIFEST %d is noted up to %d, want %d", number, got, size)
		}
	}
	want(5, 0)
	add(5, 100)
	add(5, 200)
	add(5, 300)
	want(5, 300)
	for unnamed := uint64(6); unnamed < 9; unnamed++ { // killed before the marker names it
		add(unnamed, 50)
		want(5, 300)
	}
	add(9, 10)
	add(9, 20)
	want(9, 20)
	torn := 0
	changeNotes(t, fs, func(b []byte) {
		if first, _, _ := decodeManifestNote(b); first.size == 20 {
			torn = manifestNoteSector
		}
		b[torn+20] ^= 1
	})
	want(9, 20)
	add(9, 30) // into the torn one
	changeNotes(t, fs, func(b []byte) {
		if got, ok, _ := decodeManifestNote(b[torn:]); !ok || got.size != 30 {
			t.Errorf("the torn slot holds %+v, whole %v", got, ok)
		}
	})
	want(9, 30)
	var other manifestNote // is all that there is
	changeNotes(t, fs, func(b []byte) {
		other, _, _ = decodeManifestNote(b)
		b[manifestNoteSector+20] ^= 1
	})
	want(12, 0)
	add(12, 5)
	want(12, 5)
	want(other.number, other.size)
}

// TestManifestNoteDamage: no flipped bit makes another note, no whole slot is damage, and another version is
// refused.
func TestManifestNoteDamage(t *testing.T) {
	good := manifestNote{7, 1 << 20}.encode()
	for i := range 8 * len(good) {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		if n, ok, err := decodeManifestNote(bad); ok || err != nil && !errors.Is(err, ErrFormat) {
			t.Errorf("bit %d flipped: %+v, %v", i, n, err)
		}
	}
	for _, c := range []struct {
		name   string
		change func([]byte)
		want   error
	}{
		{"both slots", func(b []byte) { b[20] ^= 1; b[manifestNoteSector+20] ^= 1 }, ErrDamage},
		{"another version", func(b []byte) { b[8] = 2 }, ErrFormat},
	} {
		fs := noteDisk(t)
		if err := notesOf(t, fs).add(5, 100); err != nil {
			t.Fatal(err)
		}
		changeNotes(t, fs, c.change)
		if _, err := readManifestNotes(fs, "data"); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// FuzzManifestNote: what is taken for a note is one.
func FuzzManifestNote(f *testing.F) {
	f.Add(manifestNote{7, 4096}.encode())
	f.Add(append(manifestNote{}.encode(), 1, 2, 3))
	f.Add([]byte(manifestNoteMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, ok, err := decodeManifestNote(b)
		if ok && (err != nil || !bytes.Equal(n.encode(), b[:manifestNoteBytes])) {
			t.Errorf("%x is read as %+v, %v", b, n, err)
		}
	})
}
