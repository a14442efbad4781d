package datatype

import (
	"encoding/binary"
	"strconv"

	"github.com/atolldb/atoll/datanode/store"
)

// A HyperLogLog is a string in Redis' layout (hyperloglog.c of Redis 7.0), byte for byte:
//
//	"HYLL" | encoding: 0 dense, 1 sparse | 3 bytes of 0 | 8 bytes little endian: the last count, its highest bit set when it no longer holds
//	dense: 16,384 registers of 6 bits, the lowest bits first
//	sparse: runs of registers; 00xxxxxx: x+1 zeros, 01xxxxxx yyyyyyyy: xy+1 zeros, 1vvvvvxx: x+1 times v+1
const (
	hllHeader     = 16
	hllRegisters  = 1 << hllIndexBits
	hllIndexBits  = 14
	hllHashBits   = 64 - hllIndexBits // what a register counts the zeros of
	hllWidth      = 6                 // bits of a dense register
	hllValueMax   = 1<<hllWidth - 1
	hllMagic      = "HYLL"
	hllEncodingAt = 4
	hllCountAt    = 8
	hllDense      = 0
	hllSparse     = 1

	// HLLDenseBytes is the length of a dense HyperLogLog, and so of the longest that is made.
	HLLDenseBytes = hllHeader + hllRegisters*hllWidth/8
	// HLLSparseBytes is how long a sparse one may get; it is hll-sparse-max-bytes, as Redis has it without configuration.
	HLLSparseBytes = 3000
)

// HLL is a HyperLogLog. What is changed must have been opened by EditHLL.
type HLL struct{ b []byte }

// HLLRegisters are the registers one by one: what several HyperLogLogs are merged into.
type HLLRegisters [hllRegisters]byte

// HLL returns the HyperLogLog at key, good until the key is written. ErrNotHLL says that it is another string.
func (s Space) HLL(key []byte) (h HLL, ok bool, err error) {
	value, ok, err := s.String(key)
	if ok && err == nil && !isHLL(value) {
		return HLL{}, false, ErrNotHLL
	}
	return HLL{value}, ok && err == nil, err
}

// HLLEdit is a HyperLogLog that is being changed.
type HLLEdit struct {
	StringEdit
	HLL
	Made bool // there was none
}

// EditHLL returns a copy of the HyperLogLog at key, an empty one when nothing is there.
func (s Space) EditHLL(key []byte) (HLLEdit, error) {
	row, there, err := s.StringRow(key)
	switch {
	case err != nil:
		return HLLEdit{}, err
	case there && !isHLL(row.Data):
		return HLLEdit{}, ErrNotHLL
	}
	e := HLLEdit{StringEdit{Space: s, key: key, expire: row.ExpireMS, Data: nil}, HLL{}, !there}
	s.Tx.Hold(len(row.Data))
	e.b = append(s.Buf.edit[:0], row.Data...)
	if e.Made {
		e.b = appendEmptyHLL(e.b)
	}
	return e, nil
}

// Save writes it back. It keeps its expiry.
func (e *HLLEdit) Save() {
	e.Buf.edit, e.Data = e.b, e.b
	e.StringEdit.Save()
}

func appendEmptyHLL(dst []byte) []byte {
	dst = append(dst, hllMagic...)
	dst = append(dst, hllSparse, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	return appendRun(dst, 0, hllRegisters)
}

// HLLGrowth is how many bytes a row may get longer at most when something is added to it.
func HLLGrowth(row store.Row) int64 { return int64(max(0, HLLDenseBytes-len(row.Data))) }

func isHLL(b []byte) bool {
	return len(b) >= hllHeader && string(b[:len(hllMagic)]) == hllMagic &&
		(b[hllEncodingAt] == hllSparse || b[hllEncodingAt] == hllDense && len(b) == HLLDenseBytes)
}

// Dense reports whether it is in the dense form.
func (h *HLL) Dense() bool { return h.b[hllEncodingAt] == hllDense }

// Cached returns the count that was noted last, if nothing has changed since.
func (h *HLL) Cached() (uint64, bool) {
	n := binary.LittleEndian.Uint64(h.b[hllCountAt:])
	return n, n>>63 == 0
}

// SetCached notes a count.
func (h *HLL) SetCached(n uint64) { binary.LittleEndian.PutUint64(h.b[hllCountAt:], n) }

// Invalidate says that the noted count no longer holds.
func (h *HLL) Invalidate() { h.b[hllHeader-1] |= 1 << 7 }

// Add puts in an element, and reports whether that changed a register.
func (h *HLL) Add(element []byte) (bool, error) {
	register, zeros := hllPlace(element)
	return h.set(register, zeros)
}

// set raises a register to a value, in the form that h has, and reports whether it was lower.
func (h *HLL) set(register int, value byte) (bool, error) {
	if h.Dense() {
		return h.setDense(register, value), nil
	}
	return h.setSparse(register, value)
}

func (h *HLL) denseAt(register int) byte {
	at, shift := hllHeader+register*hllWidth/8, register*hllWidth%8
	v := uint(h.b[at]) >> shift
	if at+1 < len(h.b) {
		v |= uint(h.b[at+1]) << (8 - shift)
	}
	return byte(v & hllValueMax)
}

func (h *HLL) setDense(register int, value byte) bool {
	if h.denseAt(register) >= value {
		return false
	}
	at, shift := hllHeader+register*hllWidth/8, register*hllWidth%8
	mask, v := uint(hllValueMax)<<shift, uint(value)<<shift
	h.b[at] = h.b[at]&^byte(mask) | byte(v)
	if mask>>8 != 0 {
		h.b[at+1] = h.b[at+1]&^byte(mask>>8) | byte(v>>8)
	}
	return true
}

// ToDense changes to the dense form, and reports whether it was another.
func (h *HLL) ToDense() (bool, error) {
	if h.Dense() {
		return false, nil
	}
	var all HLLRegisters
	if err := h.Merge(&all); err != nil {
		return false, err
	}
	h.b = append(h.b[:hllHeader], make([]byte, HLLDenseBytes-hllHeader)...)
	h.b[hllEncodingAt] = hllDense
	for i, v := range all {
		if v != 0 {
			h.setDense(i, v)
		}
	}
	return true, nil
}

// Merge raises registers to those of h. It fails with ErrHLLCorrupt if h has more or fewer than there are.
func (h *HLL) Merge(into *HLLRegisters) error {
	if h.Dense() {
		for i := range into {
			into[i] = max(into[i], h.denseAt(i))
		}
		return nil
	}
	i := 0
	for at := hllHeader; at < len(h.b); {
		r := h.runAt(at)
		if i+r.length > hllRegisters {
			return ErrHLLCorrupt
		}
		if r.value != 0 {
			for j := i; j < i+r.length; j++ {
				into[j] = max(into[j], r.value)
			}
		}
		i, at = i+r.length, at+r.size
	}
	if i != hllRegisters {
		return ErrHLLCorrupt
	}
	return nil
}

// Raise raises h to registers, one after the other, as PFMERGE does. In a sparse form that hasn't been looked at, what can't be done
// is left out.
func (h *HLL) Raise(to *HLLRegisters) {
	for i, v := range to {
		if v != 0 {
			_, _ = h.set(i, v)
		}
	}
}

// Count estimates how many elements were put in.
func (h *HLL) Count() (uint64, error) {
	var histogram [hllValueMax + 1]int
	if h.Dense() {
		for i := range hllRegisters {
			histogram[h.denseAt(i)]++
		}
		return hllEstimate(&histogram), nil
	}
	n := 0
	for at := hllHeader; at < len(h.b) && n <= hllRegisters; {
		r := h.runAt(at)
		histogram[r.value] += r.length
		n, at = n+r.length, at+r.size
	}
	if n != hllRegisters {
		return 0, ErrHLLCorrupt
	}
	return hllEstimate(&histogram), nil
}

// Count estimates how many elements were put into any of what was merged.
func (r *HLLRegisters) Count() uint64 {
	var histogram [hllValueMax + 1]int
	for _, v := range r {
		histogram[v]++
	}
	return hllEstimate(&histogram)
}

// EachRun calls fn with the text of PFDEBUG DECODE for the runs of the sparse form, until it returns false.
func (h *HLL) EachRun(fn func(text string) bool) {
	for at := hllHeader; at < len(h.b); {
		r := h.runAt(at)
		text := "zZ"[r.size-1:r.size] + ":" + strconv.Itoa(r.length)
		if r.value != 0 {
			text = "v:" + strconv.Itoa(int(r.value)) + "," + strconv.Itoa(r.length)
		}
		if !fn(text) {
			return
		}
		at += r.size
	}
}
