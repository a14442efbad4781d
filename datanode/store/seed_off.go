//go:build !seed

package store

const planted = noSeed
