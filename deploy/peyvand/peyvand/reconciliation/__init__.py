"""`peyvand reconcile`: what consumers have found when they compared themselves with the owners of their events."""
