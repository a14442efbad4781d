package datatype

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/atolldb/atoll/datanode/store"
)

// FuzzStreamRows: whatever is read as a row of a stream is written the same, so that equal content has one encoding.
func FuzzStreamRows(f *testing.F) {
	f.Add([]byte("\x01\x01\x01\x00\x00\x00\x01\x00\x00"))
	f.Add([]byte("\x02\x01f\x01v"))
	f.Add([]byte("\x00\x01\x01\x02\x01\x01\x01\x80\x01\x01\x01"))
	f.Add([]byte("\x01\x80\x00\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if i, err := readStreamInfo(b); err == nil {
			p := i.fields()
			if again := appendNumbers(nil, p[:]...); !bytes.Equal(again, b) {
				t.Errorf("%x is read as %+v, and written %x", b, i, again)
			}
		}
		if g, err := readGroup(b); err == nil {
			p := g.fields()
			if again := appendNumbers(nil, p[:]...); !bytes.Equal(again, b) {
				t.Errorf("%x is read as %+v, and written %x", b, g, again)
			}
		}
		if c, err := readConsumer(b); err == nil {
			p := c.fields()
			if again := appendNumbers(nil, p[:]...); !bytes.Equal(again, b) {
				t.Errorf("%x is read as %+v, and written %x", b, c, again)
			}
		}
		if q, err := readPending(b); err == nil {
			p := q.fields()
			if again := appendNumbers(nil, p[:]...); !bytes.Equal(again, b) || q.size != pendingName+uint64(len(b)) {
				t.Errorf("%x is read as %+v, and written %x", b, q, again)
			}
		}
		if e, err := readFields(b); err == nil {
			again := binary.AppendUvarint(nil, uint64(e.Len()))
			for e.Len() > 0 {
				again = appendChunk(again, e.Next())
			}
			if !bytes.Equal(again, b) {
				t.Errorf("%x is written %x", b, again)
			}
		}
		if err := CheckRow(store.Row{Type: store.TypeStream, Data: b}); err == nil {
			t.Error("a stream is packed")
		}
	})
}
