"""Base classes of all admins here. People read rows; the engine alone writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern

from taskqueue.admin.shared.pages import View, redirect, urls_of
from taskqueue.admin.shared.pagination import CappedPaginator
from taskqueue.admin.shared.view_wrappers import in_english, with_error_pages

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin as ModelAdmin
    from django.db.models import QuerySet
else:

    class ModelAdmin(admin.ModelAdmin):
        """`ModelAdmin[Row]`: Django's admin takes type arguments in the stubs only."""

        def __class_getitem__(cls, _item: object) -> type:
            return cls


Row = TypeVar("Row", bound=Model)


class BaseAdmin(ModelAdmin[Row]):
    """A list of bounded cost, with the model's name as its title.

    Attributes:
        views: pages and actions in addition to those of Django.
        buttons_need: the permission without which the list has no column `buttons`.
    """

    views: ClassVar[Sequence[View]] = ()
    buttons_need: ClassVar[str] = ""
    paginator = CappedPaginator
    show_full_result_count = False
    list_per_page = 50
    sortable_by = ()

    class Media:
        css = {"all": ["taskqueue/admin.css"]}

    @property
    def urls(self) -> list[URLPattern]:
        """All views, Django's own included: in English, and with error pages that link home."""
        patterns = self.get_urls()
        for pattern in patterns:
            pattern.callback = in_english(with_error_pages(pattern.callback, self.admin_site))
        return patterns

    def get_urls(self) -> list[URLPattern]:
        # Before Django's own patterns, which match any path as an id.
        return [*urls_of(self, self.views), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Row]:
        """The rows, with the database's time in `seen_at`."""
        return super().get_queryset(request).annotate(seen_at=Now())  # type: ignore[return-value]  # still of Row

    def get_list_display(self, request: HttpRequest) -> Any:
        columns = super().get_list_display(request)
        may_act = not self.buttons_need or request.user.has_perm(self.buttons_need)
        return columns if may_act else [each for each in columns if getattr(each, "__name__", each) != "buttons"]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Django's list, titled "Tasks" instead of "Select task to change"."""
        title = str(self.opts.verbose_name_plural).capitalize()
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Row | None:
        """The row; None for a key with a NUL character, which PostgreSQL refuses."""
        return None if "\x00" in object_id else super().get_object(request, object_id, from_field)


class ReadOnlyAdmin(BaseAdmin[Row]):
    """A list and a page per row. No user can add, change or delete rows, not even a superuser."""

    show_facets = admin.ShowFacets.NEVER

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Allow the filters' parameters and `id__lt`; a look-up on another column may scan the table or fail."""
        own: set[str | None] = {"id__lt"}
        for list_filter in self.list_filter:
            own |= {getattr(list_filter, "parameter_name", None), *getattr(list_filter, "parameters", ())}
        columns = {"pk", *(field.name for field in self.model._meta.get_fields())}
        return lookup in own or lookup.partition("__")[0] not in columns

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Row], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Run the chosen action; a form may send keys that are not valid."""
        try:
            return super().response_action(request, queryset, *args, **kwargs)
        except ValidationError:
            message = "There are no such rows; nothing was done."
            return redirect(self, request, request.get_full_path(), message, messages.WARNING)


class ChangeableAdmin(BaseAdmin[Row]):
    """Rows that the code creates; people may change some of their values."""

    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
