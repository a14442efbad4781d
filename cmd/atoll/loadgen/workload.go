package loadgen

import (
	"fmt"
	"slices"
	"strconv"
)

// Workload makes the commands of a load. The zero value is none; see Named.
type Workload struct {
	Name string
	Keys int // keys are drawn evenly from so many
	Size int // bytes of a value

	make  func(w *Workload, b []byte, r *random) []byte
	next  int // key of fill
	value []byte
}

// Keyspace bounds of the workloads that have their own.
const (
	hotKeys     = 50_000
	collections = 1_000
	members     = 1_000
	msetKeys    = 10
)

// workloads are the table of what can be put on a server.
func workloads() []Workload {
	return []Workload{
		{Name: "set", make: func(w *Workload, b []byte, r *random) []byte {
			return appendBulk(appendKey(appendHead(b, 3, "SET"), "key:", r.below(w.Keys)), w.value)
		}},
		{Name: "get", make: func(w *Workload, b []byte, r *random) []byte {
			return appendKey(appendHead(b, 2, "GET"), "key:", r.below(w.Keys))
		}},
		{Name: "get-hot", make: func(w *Workload, b []byte, r *random) []byte {
			return appendKey(appendHead(b, 2, "GET"), "key:", r.below(min(w.Keys, hotKeys)))
		}},
		{Name: "incr", make: func(w *Workload, b []byte, r *random) []byte {
			return appendKey(appendHead(b, 2, "INCR"), "counter:", r.below(w.Keys))
		}},
		{Name: "hset", make: func(w *Workload, b []byte, r *random) []byte {
			b = appendKey(appendHead(b, 4, "HSET"), "hash:", r.below(collections))
			return appendBulk(appendKey(b, "field:", r.below(members)), w.value)
		}},
		{Name: "hset-one", make: func(w *Workload, b []byte, r *random) []byte {
			b = appendKey(appendHead(b, 4, "HSET"), "onehash:", 0)
			return appendBulk(appendKey(b, "field:", r.below(w.Keys)), w.value)
		}},
		{Name: "zadd", make: func(w *Workload, b []byte, r *random) []byte {
			b = appendKey(appendHead(b, 4, "ZADD"), "zset:", r.below(collections))
			return appendKey(appendScore(b, r.below(1_000_000)), "member:", r.below(members))
		}},
		{Name: "zadd-one", make: func(w *Workload, b []byte, r *random) []byte {
			b = appendKey(appendHead(b, 4, "ZADD"), "onezset:", 0)
			return appendKey(appendScore(b, r.below(1_000_000)), "member:", r.below(w.Keys))
		}},
		// One list, as redis-benchmark has it: what is pushed first is there to be popped and read.
		{Name: "lpush", make: func(w *Workload, b []byte, _ *random) []byte {
			return appendBulk(appendBulk(appendHead(b, 3, "LPUSH"), "onelist"), w.value)
		}},
		{Name: "rpush", make: func(w *Workload, b []byte, _ *random) []byte {
			return appendBulk(appendBulk(appendHead(b, 3, "RPUSH"), "onelist"), w.value)
		}},
		{Name: "lpop", make: func(_ *Workload, b []byte, _ *random) []byte { return appendBulk(appendHead(b, 2, "LPOP"), "onelist") }},
		{Name: "rpop", make: func(_ *Workload, b []byte, _ *random) []byte { return appendBulk(appendHead(b, 2, "RPOP"), "onelist") }},
		{Name: "lrange-100", make: func(_ *Workload, b []byte, _ *random) []byte {
			return appendBulk(appendBulk(appendBulk(appendHead(b, 4, "LRANGE"), "onelist"), "0"), "99")
		}},
		// One stream, which grows.
		{Name: "xadd", make: func(w *Workload, b []byte, _ *random) []byte {
			return appendBulk(appendBulk(appendBulk(appendBulk(appendHead(b, 5, "XADD"), "onestream"), "*"), "field"), w.value)
		}},
		{Name: "mset", make: func(w *Workload, b []byte, r *random) []byte {
			b = appendHead(b, 1+2*msetKeys, "MSET")
			for range msetKeys {
				b = appendBulk(appendKey(b, "key:", r.below(w.Keys)), w.value)
			}
			return b
		}},
		{Name: "ping", make: func(_ *Workload, b []byte, _ *random) []byte { return appendHead(b, 1, "PING") }},
		// Every key in order, so that what reads finds something.
		{Name: "fill", make: func(w *Workload, b []byte, _ *random) []byte {
			b = appendBulk(appendKey(appendHead(b, 3, "SET"), "key:", w.next%w.Keys), w.value)
			w.next++
			return b
		}},
	}
}

// Names returns what Named knows.
func Names() []string {
	var names []string
	for _, w := range workloads() {
		names = append(names, w.Name)
	}
	return names
}

// Named returns a workload over so many keys (1 to 10^12), with values of so many bytes (at most 1 MiB).
func Named(name string, keys, size int) (Workload, error) {
	table := workloads()
	i := slices.IndexFunc(table, func(w Workload) bool { return w.Name == name })
	switch {
	case i < 0:
		return Workload{}, fmt.Errorf("workload %q is none of %v", name, Names())
	case keys < 1 || keys > 1e12:
		return Workload{}, fmt.Errorf("keys: %d is not between 1 and 10^12", keys)
	case size < 0 || size > 1<<20:
		return Workload{}, fmt.Errorf("value size: %d is not between 0 and 1048576 bytes", size)
	}
	w := table[i]
	w.Keys, w.Size = keys, size
	w.value = make([]byte, size)
	r := random(1)
	for i := range w.value {
		w.value[i] = 'a' + byte(r.below(26))
	}
	return w, nil
}

func (w *Workload) command(b []byte, r *random) []byte { return w.make(w, b, r) }

// random is xorshift64*: cheap, and the same sequence for the same seed.
type random uint64

func (r *random) below(n int) int {
	x := *r
	x ^= x >> 12
	x ^= x << 25
	x ^= x >> 27
	*r = x
	return int((uint64(x*0x2545f4914f6cdd1d) >> 11) % uint64(n))
}

func appendHead(b []byte, args int, name string) []byte {
	b = append(b, '*')
	b = strconv.AppendInt(b, int64(args), 10)
	b = append(b, "\r\n"...)
	return appendBulk(b, name)
}

func appendBulk[T []byte | string](b []byte, v T) []byte {
	b = append(b, '$')
	b = strconv.AppendInt(b, int64(len(v)), 10)
	b = append(b, "\r\n"...)
	b = append(b, v...)
	return append(b, "\r\n"...)
}

// keyDigits is how many digits a number in a key has, as in redis-benchmark's keys.
const keyDigits = 12

func appendKey(b []byte, prefix string, n int) []byte {
	b = append(b, '$')
	b = strconv.AppendInt(b, int64(len(prefix)+keyDigits), 10)
	b = append(b, "\r\n"...)
	b = append(b, prefix...)
	b = append(b, "000000000000"...)
	for i := len(b) - 1; n > 0; i, n = i-1, n/10 {
		b[i] = '0' + byte(n%10)
	}
	return append(b, "\r\n"...)
}

func appendScore(b []byte, n int) []byte {
	var digits [20]byte
	return appendBulk(b, strconv.AppendInt(digits[:0], int64(n), 10))
}

func appendCommand(b []byte, args ...string) []byte {
	b = appendHead(b, len(args), args[0])
	for _, a := range args[1:] {
		b = appendBulk(b, a)
	}
	return b
}
