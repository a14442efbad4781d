package store_test

import (
	"reflect"
	"testing"

	"github.com/atolldb/atoll/datanode/store"
)

// rows are key rows as they lie on disks: their bytes must read as this for ever.
var rows = map[string]store.Row{
	"\x01value":                                        {Type: store.TypeString, Data: []byte("value")},
	"\x21\x00\x00\x00\x00\x00\x00\x01\x00v":            {Type: store.TypeString, ExpireMS: 256, Data: []byte("v")},
	"\x04\x01\x00\x01a":                                {Type: store.TypeList, Data: []byte("\x01\x00\x01a")},
	"\x12\x00\x00\x00\x00\x00\x00\x00\x07\x80\x01\x05": {Type: store.TypeHash, Spread: true, Version: 7, Count: 128, Bytes: 5},
	"\x14\x00\x00\x00\x00\x00\x00\x00\x07\x03\x1b\x80\x00\x00\x00\x00\x00\x00\x02": {Type: store.TypeList, Spread: true, Version: 7, Count: 3, Bytes: 27, Head: 1<<63 + 2},
	"\x34\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00\x07\x01\x08\x7f\xff\xff\xff\xff\xff\xff\xff": {Type: store.TypeList, Spread: true, ExpireMS: 9, Version: 7,
		Count: 1, Bytes: 8, Head: 1<<63 - 1},
	"\x16\x00\x00\x00\x00\x00\x00\x00\x07\x02\x30\x07data": {Type: store.TypeStream, Spread: true, Version: 7, Count: 2, Bytes: 48, Groups: 7, Data: []byte("data")},
}

func TestRows(t *testing.T) {
	c := store.Codec{}
	for v, want := range rows {
		got, err := c.DecodeRow([]byte(v))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q reads %+v, %v; want %+v", v, got, err, want)
		}
		if again := string(c.AppendRow(nil, &want)); again != v {
			t.Errorf("%+v is written %q, want %q", want, again, v)
		}
		if !want.Spread {
			continue
		}
		head := len(v) - len(want.Data) // behind which it reads what there is
		if r, err := c.DecodeRow([]byte(v + "\x00")); err == nil && want.Data == nil {
			t.Errorf("%q and a byte more read %+v", v, r)
		}
		for n := range head {
			if r, err := c.DecodeRow([]byte(v[:n])); err == nil {
				t.Errorf("%q, cut at %d, reads %+v", v, n, r)
			}
		}
	}
}

// FuzzRow: what is taken for a row reads the same once written again.
func FuzzRow(f *testing.F) {
	for v := range rows {
		f.Add([]byte(v))
	}
	c := store.Codec{}
	f.Fuzz(func(t *testing.T, v []byte) {
		r, err := c.DecodeRow(v)
		if err != nil {
			return
		}
		again, err := c.DecodeRow(c.AppendRow(nil, &r))
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%q reads %+v, and again %+v, %v", v, r, again, err)
		}
	})
}
