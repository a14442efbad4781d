package datatype

import (
	"strconv"

	"github.com/atolldb/atoll/datanode/store"
)

// String returns the string at key. It is good until the key is written.
func (s Space) String(key []byte) (value []byte, ok bool, err error) {
	row, ok, err := s.get(key, store.TypeString)
	return row.Data, ok, err
}

// StringRow is String with the whole row, for callers that keep or change the expiry.
func (s Space) StringRow(key []byte) (store.Row, bool, error) { return s.get(key, store.TypeString) }

// SetString replaces whatever is at key by a string with that expiry (Unix milliseconds, 0: none). An
// expiry that has passed deletes the key.
func (s Space) SetString(key, value []byte, expireMS int64) {
	if expireMS != 0 && expireMS <= s.Tx.Now() {
		s.Tx.Delete(s.DB, key)
		return
	}
	s.Tx.Put(s.DB, key, store.Row{Type: store.TypeString, ExpireMS: expireMS, Data: value})
}

// Append adds to the end of the string at key, which is made when it isn't there and keeps its expiry, and
// returns the new length.
func (s Space) Append(key, suffix []byte) (int, error) {
	row, ok, err := s.get(key, store.TypeString)
	if err != nil {
		return 0, err
	}
	if len(row.Data)+len(suffix) > MaxStringBytes {
		return 0, ErrTooLong
	}
	if ok && len(suffix) == 0 {
		return len(row.Data), nil
	}
	s.Buf.edit = append(append(s.Buf.edit[:0], row.Data...), suffix...)
	s.putString(key, row, s.Buf.edit)
	return len(s.Buf.edit), nil
}

// SetRange overwrites the string at key from offset on, with zero bytes up to there when it is shorter, and
// returns the new length. An empty value changes nothing.
func (s Space) SetRange(key []byte, offset int64, value []byte) (int, error) {
	row, _, err := s.get(key, store.TypeString)
	if err != nil {
		return 0, err
	}
	if len(value) == 0 {
		return len(row.Data), nil
	}
	if offset > MaxStringBytes-int64(len(value)) {
		return 0, ErrTooLong
	}
	end := int(offset) + len(value)
	s.Tx.Hold(end)
	buf := append(s.Buf.edit[:0], row.Data...)
	if len(buf) < end {
		buf = append(buf, make([]byte, end-len(buf))...)
	}
	copy(buf[offset:], value)
	s.Buf.edit = buf
	s.putString(key, row, buf)
	return len(buf), nil
}

// Range returns the bytes from start to end, both included, negative ones counting from the end.
func Range(value []byte, start, end int64) []byte {
	n := int64(len(value))
	if start < 0 && end < 0 && start > end {
		return nil
	}
	if start < 0 {
		start = max(n+start, 0)
	}
	if end < 0 {
		end = max(n+end, 0)
	}
	end = min(end, n-1)
	if start > end || n == 0 {
		return nil
	}
	return value[start : end+1]
}

// Increment adds delta to the integer at key, which counts as 0 when it isn't there and keeps its expiry.
func (s Space) Increment(key []byte, delta int64) (int64, error) {
	row, ok, err := s.get(key, store.TypeString)
	if err != nil {
		return 0, err
	}
	sum, err := add(row.Data, ok, delta)
	if err != nil {
		return 0, err
	}
	s.Buf.edit = strconv.AppendInt(s.Buf.edit[:0], sum, 10)
	s.putString(key, row, s.Buf.edit)
	return sum, nil
}

// add is the checked sum of a stored integer and delta.
func add(text []byte, there bool, delta int64) (int64, error) {
	var n int64
	if there {
		var ok bool
		if n, ok = ParseInt(text); !ok {
			return 0, ErrNotInteger
		}
	}
	sum := n + delta
	if (n < 0) == (delta < 0) && (sum < 0) != (n < 0) {
		return 0, ErrOverflow
	}
	return sum, nil
}

// IncrementFloat adds increment to the number at key in Redis' long arithmetic and returns the text of the
// sum, good until the next change.
func (s Space) IncrementFloat(key, increment []byte) ([]byte, error) {
	row, ok, err := s.get(key, store.TypeString)
	if err != nil {
		return nil, err
	}
	value := row.Data
	if !ok {
		value = nil
	} else if value == nil {
		value = []byte{}
	}
	sum, err := FloatSum(s.Buf.edit[:0], value, increment)
	if err != nil {
		return nil, err
	}
	s.Buf.edit = sum
	s.putString(key, row, sum)
	return sum, nil
}

// putString writes a string that keeps the expiry of the row it replaces.
func (s Space) putString(key []byte, old store.Row, value []byte) {
	s.Tx.Put(s.DB, key, store.Row{Type: store.TypeString, ExpireMS: old.ExpireMS, Data: value})
}
