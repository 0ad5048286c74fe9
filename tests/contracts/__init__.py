"""Contracts: one set of cases for every implementation of an interface."""
