package datatype

import (
	"github.com/atolldb/atoll/datanode/store"
)

// ZSet is one sorted set during a command: open, read and change, Save. Spread over sub rows, each member
// has two: member -> score, and score|member -> nothing, which keeps the order.
type ZSet struct{ collection }

// ZSet opens the sorted set at key, an empty one when nothing is there.
func (s Space) ZSet(key []byte) (ZSet, error) {
	c, err := s.collection(key, store.TypeZSet)
	return ZSet{c}, err
}

// Score returns a member's score.
func (z *ZSet) Score(member []byte) (float64, bool) {
	if z.row.Spread {
		v, ok := z.getSub(store.SubMember, member)
		if !ok {
			return 0, false
		}
		score, err := decodeScore(v)
		z.check(err)
		return score, true
	}
	w, ok := z.find(member)
	return w.score, ok
}

// find walks the packed form up to a member.
func (z *ZSet) find(member []byte) (scores, bool) {
	w := walkScores(z.packed)
	for w.next() {
		if string(w.member) == string(member) {
			return w, true
		}
	}
	z.check(w.err)
	return scores{}, false
}

// Set gives a member a score, which is not NaN, and reports whether the member is new. To set the score that
// a member has changes nothing.
func (z *ZSet) Set(member []byte, score float64) bool {
	if z.row.Spread {
		return z.setSub(member, score)
	}
	w, ok := z.find(member)
	if ok && w.score == score {
		return false
	}
	z.edit()
	if ok {
		z.edited(cutPacked(z.packed, w.start, w.at, 1))
	}
	p, err := putScore(z.packed, member, score)
	z.check(err)
	z.edited(p)
	if n, _ := packedCount(p); !z.Limits.fits(n, len(p)) {
		z.spread()
	}
	return !ok
}

func (z *ZSet) setSub(member []byte, score float64) bool {
	old, ok := z.Score(member)
	switch {
	case ok && old == score:
		return false
	case ok:
		name := z.scoreName(old, member)
		z.deleteSub(store.SubScore, name, store.SubSize(name, nil))
	default:
		z.row.Count++
		z.changed = true
	}
	z.putMember(member, score, ok)
	return !ok
}

// putMember writes the two rows of a member; its old score row is gone.
func (z *ZSet) putMember(member []byte, score float64, replaces bool) {
	var size uint64
	if replaces {
		size = store.SubSize(member, nil) + scoreSize
	}
	name := z.scoreName(score, member)
	z.putSub(store.SubMember, member, name[:scoreSize], size)
	z.putSub(store.SubScore, name, nil, 0)
}

func (z *ZSet) scoreName(score float64, member []byte) []byte {
	z.Buf.name = append(appendScore(z.Buf.name[:0], score), member...)
	return z.Buf.name
}

// spread moves the packed members to rows of their own.
func (z *ZSet) spread() {
	z.startSpread()
	w := walkScores(z.packed)
	for w.next() {
		z.putMember(w.member, w.score, false)
		z.row.Count++
	}
	z.check(w.err)
}

// Delete removes a member and reports whether it was there.
func (z *ZSet) Delete(member []byte) bool {
	if z.row.Spread {
		score, ok := z.Score(member)
		if ok {
			z.deleteMember(member, score)
		}
		return ok
	}
	w, ok := z.find(member)
	if ok {
		z.edit()
		z.edited(cutPacked(z.packed, w.start, w.at, 1))
	}
	return ok
}

// deleteMember removes both rows of a member.
func (z *ZSet) deleteMember(member []byte, score float64) {
	name := z.scoreName(score, member)
	z.row.Count--
	z.deleteSub(store.SubMember, member, store.SubSize(member, name[:scoreSize]))
	z.deleteSub(store.SubScore, name, store.SubSize(name, nil))
}

// Rank returns how many members come before this one, or behind it in reverse. In a spread set it costs a
// walk over them.
func (z *ZSet) Rank(member []byte, reverse bool) (int64, bool) {
	score, ok := z.Score(member)
	if !ok {
		return 0, false
	}
	var rank int64
	if !z.row.Spread {
		w := walkScores(z.packed)
		for w.next() && string(w.member) != string(member) {
			rank++
		}
	} else {
		z.Buf.to = append(appendScore(z.Buf.to[:0], score), member...)
		for range z.subs(store.Bounds{To: z.Buf.to}) {
			rank++
		}
	}
	if reverse {
		rank = z.Len() - 1 - rank
	}
	return rank, true
}

// EachMember calls fn for every member in the order of their bytes from one on, until it returns false. Only
// for spread sets: the order doesn't change when scores do, so a scan can go on from it.
func (z *ZSet) EachMember(from []byte, fn func(member []byte, score float64) bool) {
	for member, v := range z.Tx.Subs(z.DB, z.key, z.row.Version, store.SubMember, store.Bounds{From: from}) {
		score, err := decodeScore(v)
		z.check(err)
		if !fn(member, score) {
			return
		}
	}
}
