"""Runs Grantline on one machine: functions host, storage and the simulated tenant. Never deployed."""
