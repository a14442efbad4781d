package replog

import (
	"bytes"
	"reflect"
	"runtime/metrics"
	"testing"
)

// allocated is what the process has allocated so far, in bytes. Small pieces count late.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func FuzzEntry(f *testing.F) {
	for _, e := range []Entry{
		{Kind: KindData},
		{Kind: KindEpoch, Epoch: 3, Index: 9, Note: []byte("history")},
		{Kind: KindPurge, Subject: 1 << 60, TimeMS: -1, Deltas: []Delta{{1, 2, 3, -4, 5, -6}, {7, 8, 0, 0, 0, 0}}},
	} {
		f.Add(append(AppendHeader(nil, &e), "payload"...)[RecordHeader:])
	}
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, body []byte) {
		var e, again Entry
		before := allocated()
		err := e.Decode(body)
		if n := allocated() - before; n > uint64(32*len(body)+1<<20) {
			t.Errorf("%d bytes were allocated for an entry of %d", n, len(body))
		}
		if err != nil {
			return
		}
		b := append(AppendHeader(nil, &e), e.Payload...)
		if err := again.Decode(b[RecordHeader:]); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(e, again) {
			t.Errorf("%+v became %+v", e, again)
		}
	})
}

func FuzzSegmentHeader(f *testing.F) {
	h := segmentHeader{seq: 1, firstIndex: 2, baseOffset: 3, synced: 4, prevEpoch: 5, salt: 6, history: "h"}
	f.Add(h.encode())
	f.Add(make([]byte, headerSize))
	f.Add([]byte(segmentMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeSegmentHeader(b)
		if err != nil {
			return
		}
		if again, err := decodeSegmentHeader(h.encode()); err != nil || again != h {
			t.Errorf("%+v became %+v, %v", h, again, err)
		}
	})
}

func FuzzRecord(f *testing.F) {
	rec := record(1, 2, "", []byte("payload"))
	sealRecord(rec, 99, 3)
	f.Add(rec)
	f.Add(append(bytes.Clone(rec), "more"...))
	f.Add(rec[:len(rec)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		n, synced, ok := recordAt(b, 99)
		if !ok {
			return
		}
		if n > len(b) || n < RecordHeader+bodyFixed {
			t.Fatalf("record of %d bytes in %d", n, len(b))
		}
		again := bytes.Clone(b[:n])
		sealRecord(again, 99, synced)
		if !bytes.Equal(again, b[:n]) {
			t.Error("sealed again, it differs")
		}
	})
}
