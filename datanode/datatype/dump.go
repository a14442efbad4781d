package datatype

import (
	"encoding/binary"
	"hash/crc64"
	"hash/maphash"
	"slices"

	"github.com/atolldb/atoll/datanode/store"
)

// A dump is a value in the form of Redis' RDB files (rdb.c, cluster.c): a byte for the form, the value, two bytes of version
// and a CRC64 of all before it, both in little endian. DUMP writes what Redis 7.0 reads. RESTORE reads the forms of Redis 2.4
// to 7.2, but not those of streams and modules.
const (
	dumpFooter     = 10
	dumpVersion    = 10 // that is written: Redis 7.0
	dumpVersionMax = 11 // that is read: Redis 7.2

	dumpString       = 0
	dumpList         = 1
	dumpSet          = 2
	dumpZSetText     = 3
	dumpHash         = 4
	dumpZSet         = 5
	dumpHashZipmap   = 9
	dumpListZiplist  = 10
	dumpSetIntset    = 11
	dumpZSetZiplist  = 12
	dumpHashZiplist  = 13
	dumpZiplists     = 14
	dumpHashListpack = 16
	dumpZSetListpack = 17
	dumpListpacks    = 18
	dumpSetListpack  = 20

	nodePlain  = 1 // of a list: one element
	nodePacked = 2 // a listpack
)

// dumpTable is of the polynomial of Jones, as Redis has it.
var dumpTable = crc64.MakeTable(0x95ac9329ac4bc9b5)

// dumpSum is Redis' CRC64, which starts with 0.
func dumpSum(b []byte) uint64 { return ^crc64.Update(^uint64(0), dumpTable, b) }

// AppendDumpSum appends the checksum of a dump's form, value and version.
func AppendDumpSum(dst, dump []byte) []byte {
	return binary.LittleEndian.AppendUint64(dst, dumpSum(dump))
}

// appendFooter ends a dump that starts at an offset of dst.
func appendFooter(dst []byte, start int) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, dumpVersion)
	return AppendDumpSum(dst, dst[start:])
}

// Dump is a dump whose checksum is right.
type Dump struct {
	form byte
	kind store.Type
	body []byte
}

// OpenDump checks a dump's footer (ErrDumpFooter), and that its form is one that is read (ErrDump).
func OpenDump(b []byte) (Dump, error) {
	if len(b) < dumpFooter {
		return Dump{}, ErrDumpFooter
	}
	end := len(b) - dumpFooter
	if binary.LittleEndian.Uint16(b[end:]) > dumpVersionMax || binary.LittleEndian.Uint64(b[end+2:]) != dumpSum(b[:end+2]) {
		return Dump{}, ErrDumpFooter
	}
	if end == 0 {
		return Dump{}, ErrDump
	}
	d := Dump{form: b[0], body: b[1:end]}
	switch d.form {
	case dumpString:
		d.kind = store.TypeString
	case dumpList, dumpListZiplist, dumpZiplists, dumpListpacks:
		d.kind = store.TypeList
	case dumpSet, dumpSetIntset, dumpSetListpack:
		d.kind = store.TypeSet
	case dumpZSet, dumpZSetText, dumpZSetZiplist, dumpZSetListpack:
		d.kind = store.TypeZSet
	case dumpHash, dumpHashZipmap, dumpHashZiplist, dumpHashListpack:
		d.kind = store.TypeHash
	default:
		return Dump{}, ErrDump
	}
	return d, nil
}

// dumpItem is a part of a value: a string, an element, a member with its score, or a field with its value. It is good for one call.
type dumpItem struct {
	name, value []byte
	score       float64
}

// size is what the rows of an item take beside the key's name.
func (d *Dump) size(i *dumpItem) int {
	n := len(i.name) + len(i.value)
	if d.kind == store.TypeZSet {
		n = 2 * (n + scoreSize)
	}
	return n
}

// dumpRow is what a row of its own takes of a run beside its name and value, about.
const dumpRow = 64

// measure reads all of a dump, and returns how many items it has and what they take. It is ErrDump where anything is wrong, and
// store.ErrTooLarge where one run could not write it.
func (d *Dump) measure(key []byte) (items, bytes int, err error) {
	var hashes []uint64
	seed := maphash.MakeSeed()
	run := 0
	err = d.each(func(i *dumpItem) error {
		items++
		bytes += d.size(i)
		run += d.size(i) + dumpRow + len(key)
		switch {
		case len(i.name) > MaxStringBytes || len(i.value) > MaxStringBytes:
			return ErrDump
		case run > store.MaxRunBytes:
			return store.ErrTooLarge
		}
		if d.kind != store.TypeString && d.kind != store.TypeList {
			hashes = append(hashes, maphash.Bytes(seed, i.name))
		}
		return nil
	})
	if err == nil && items == 0 {
		err = ErrDump // Redis has no empty collections
	}
	if err == nil && d.repeats(seed, hashes) {
		err = ErrDump
	}
	return items, bytes, err
}

// repeats reports whether a name comes twice. Names are looked at only where their hashes do.
func (d *Dump) repeats(seed maphash.Seed, hashes []uint64) bool {
	slices.Sort(hashes)
	twice := map[uint64]bool{}
	for i := 1; i < len(hashes); i++ {
		if hashes[i] == hashes[i-1] {
			twice[hashes[i]] = true
		}
	}
	if len(twice) == 0 {
		return false
	}
	seen := map[string]bool{}
	return d.each(func(i *dumpItem) error {
		if !twice[maphash.Bytes(seed, i.name)] {
			return nil
		}
		if seen[string(i.name)] {
			return ErrDump
		}
		seen[string(i.name)] = true
		return nil
	}) != nil
}

// Bytes is what the value of a dump takes, 0 if it is damaged.
func (d *Dump) Bytes() int64 {
	_, bytes, err := d.measure(nil)
	if err != nil {
		return 0
	}
	return int64(bytes)
}

// Restore puts a dump's value at key, in the place of whatever is there. All of it is read before anything is written.
// Errors are ErrDump and store.ErrTooLarge. write says that it is to be written at all, with an expiry in Unix milliseconds (0: none).
func (s Space) Restore(key []byte, d Dump, write bool, expireMS int64) error {
	s.Tx.Hold(min(len(d.body)*lzfGrowth, MaxStringBytes)) // which one string may take
	items, bytes, err := d.measure(key)
	if err != nil || !write {
		return err
	}
	s.Tx.Hold(bytes)
	s.Tx.Delete(s.DB, key)
	c := collection{Space: s, key: key, row: store.Row{Type: d.kind, ExpireMS: expireMS}, packed: emptyPacked[:]}
	spread := !s.Limits.fits(items, packedHeader+bytes)
	switch d.kind {
	case store.TypeString:
		return d.each(func(i *dumpItem) error {
			s.SetString(key, i.name, expireMS)
			return nil
		})
	case store.TypeList:
		l := List{c}
		err = d.each(func(i *dumpItem) error {
			l.Push(false, i.name)
			return nil
		})
		l.Save()
	case store.TypeSet:
		set := Set{c}
		err = d.restoreSet(&set, spread)
		set.Save()
	case store.TypeHash:
		h := Hash{c}
		err = d.restoreHash(&h, spread)
		h.Save()
	case store.TypeZSet:
		z := ZSet{c}
		err = d.restoreZSet(&z, spread)
		z.Save()
	}
	return err
}

// What spreads is written without a look at what is there, since no name comes twice.

func (d *Dump) restoreSet(s *Set, spread bool) error {
	if spread {
		s.startSpread()
	}
	return d.each(func(i *dumpItem) error {
		if spread {
			s.putSub(store.SubMember, i.name, nil, 0)
			s.row.Count++
		} else {
			s.Add(i.name)
		}
		return nil
	})
}

func (d *Dump) restoreHash(h *Hash, spread bool) error {
	if spread {
		h.startSpread()
	}
	return d.each(func(i *dumpItem) error {
		if spread {
			h.putSub(store.SubMember, i.name, i.value, 0)
			h.row.Count++
		} else {
			h.Set(i.name, i.value)
		}
		return nil
	})
}

func (d *Dump) restoreZSet(z *ZSet, spread bool) error {
	if spread {
		z.startSpread()
	}
	return d.each(func(i *dumpItem) error {
		if spread {
			z.putMember(i.name, i.score, false)
			z.row.Count++
		} else {
			z.Set(i.name, i.score)
		}
		return nil
	})
}
