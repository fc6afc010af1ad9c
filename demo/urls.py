"""The demo project's URLs: the admin, the API, and a redirect from / to the admin."""

from django.contrib import admin
from django.http import HttpResponseRedirect
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

from demo import pages

urlpatterns = [
    # Browsers request this path on pages without an icon, such as the login page.
    path("favicon.ico", lambda _request: HttpResponseRedirect(static("taskqueue/icon.svg"))),
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("", include("taskqueue.service_urls")),
]

handler403 = pages.forbidden
handler404 = pages.not_found
handler500 = pages.failed
