//go:build !seed

package command

const planted = noSeed
