"""Behind the handlers: views, redirects, API shapes, problem details, and who may."""
